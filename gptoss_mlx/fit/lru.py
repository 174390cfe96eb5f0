"""Which experts a cache holds that evicts the least recently used one.

A layer's cache of ``C`` experts holds the ``C`` that were used last, whatever ``C`` is, as
long as it never evicts an expert of the current token and holds at least that many. So one
pass over a trace, which finds how many experts were used since an expert's last use, tells
the hits of caches of every size.

Source: Mattson, Gecsei, Slutz, Traiger, "Evaluation techniques for storage hierarchies",
IBM Systems Journal 9 (1970).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gptoss_mlx.fit.traces import Trace

__all__ = ["StackDistances", "stack_distances"]


@dataclass(frozen=True, slots=True, eq=False)
class StackDistances:
    """How long ago each choice was last used, counted in other experts.

    Attributes:
        counts: Experts of the layer that were used more recently than the chosen one. Shape
            ``(tokens, layers, chosen)``, without the prompt's tokens.
        experts: Experts of a layer. This count is that of an expert which no cache has.
    """

    counts: npt.NDArray[np.int32]
    experts: int

    def hit_rate(self, slots: int) -> float:
        """Return the share of hits of caches of ``slots`` experts a layer."""
        return float((self.counts < slots).mean())


def stack_distances(trace: Trace, *, warm: bool = True) -> StackDistances:
    """Count, for each choice, the experts that were used more recently than the chosen one.

    A cache of ``C`` experts a layer hits where the count is below ``C``, for every ``C``
    from the experts of a token on.

    Args:
        trace: The choices.
        warm: Whether the cache is full before the first token, with expert 0 as the most
            recent and so on, as after a long prompt. If not, an expert's first use is a
            miss: its count is the number of experts.
    """
    tokens, layers, chosen = trace.chosen.shape
    # When each expert was last used, counted in choices; before the first, negative.
    last = np.tile(-np.arange(1, trace.experts + 1), (layers, 1))  # (layers, experts)
    counts = np.empty((tokens, layers, chosen), np.int32)
    for token, experts in enumerate(trace.chosen):  # (layers, chosen)
        used = np.take_along_axis(last, experts, axis=1)
        counts[token] = (last[:, None, :] > used[:, :, None]).sum(axis=-1)
        if not warm:
            counts[token][used < 0] = trace.experts
        now = np.broadcast_to(token * chosen + np.arange(chosen), experts.shape)
        np.put_along_axis(last, experts, now, axis=1)
    return StackDistances(counts[trace.prompt_tokens :], trace.experts)
