"""Records a routing trace from a model that computes a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt

from gptoss_mlx.errors import FitError
from gptoss_mlx.fit.traces import Trace
from gptoss_mlx.model.experts import Experts
from gptoss_mlx.model.transformer import Model

__all__ = ["record_trace"]


def record_trace(
    model: Model, tokens: Sequence[int], *, prompt_tokens: int = 0, chunk_tokens: int = 512
) -> Trace:
    """Compute a text, and note which experts each of its tokens chose in each layer.

    Args:
        model: The model. It is as before when this returns or raises.
        tokens: Ids of the text, e.g. a prompt and its answer.
        prompt_tokens: How many of them are the prompt.
        chunk_tokens: Tokens computed at once.

    Raises:
        FitError: The text has no token after the prompt.
    """
    if not 0 <= prompt_tokens < len(tokens):
        raise FitError(
            f"A recorded text must have a token after its prompt but has {len(tokens):,} "
            f"tokens, {prompt_tokens:,} of them the prompt."
        )
    config = model.config
    cache = model.make_cache()
    chosen: list[npt.NDArray[np.int32]] = []
    with _recorded(model) as calls:
        for first in range(0, len(tokens), chunk_tokens):
            chunk = mx.array([tokens[first : first + chunk_tokens]])
            mx.eval(model.model(chunk, cache))
            layers = [np.array(indices).astype(np.int32) for indices in calls]
            calls.clear()
            chosen.append(np.stack(layers, axis=1))  # (tokens, layers, chosen)
    return Trace(np.concatenate(chosen), config.num_local_experts, prompt_tokens)


class _Recorder(nn.Module):
    """Experts of a layer that note what they are called with."""

    def __init__(self, experts: nn.Module, calls: list[mx.array]) -> None:
        super().__init__()
        self.inner = experts
        self._calls = (calls,)  # a list would count as parameters

    def __call__(self, x: mx.array, indices: mx.array, weights: mx.array) -> mx.array:
        self._calls[0].append(indices)
        out: mx.array = self.inner(x, indices, weights)
        return out


@contextmanager
def _recorded(model: Model) -> Iterator[list[mx.array]]:
    """Collect the choices of each layer, first to last."""
    calls: list[mx.array] = []
    plain = [layer.mlp.experts for layer in model.layers]
    try:
        for layer, experts in zip(model.layers, plain, strict=True):
            layer.mlp.experts = cast(Experts, _Recorder(experts, calls))
        yield calls
    finally:
        for layer, experts in zip(model.layers, plain, strict=True):
            layer.mlp.experts = experts
