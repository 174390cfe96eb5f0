"""Compares a text prefilled in chunks, and token by token, with one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from gptoss_mlx.model.transformer import Model

__all__ = ["PIECES", "PrefillCheck", "check_prefill"]

TEXT = 560
"""Tokens of the text: sliding caches move their window to a new buffer once in it."""

PIECES = {
    "chunks of 100": [100] * (TEXT // 100) + [TEXT % 100],
    "token by token": [480] + [1] * (TEXT - 480),
}
"""How many tokens to compute at a time."""

# Logits are compared at every position of this step, and at the last.
EVERY = 24

KL_BOUND = 2e-3
LARGEST_BOUNDS = {"float32": 1e-3}
"""By dtype. In bf16 an expert may flip, so only KL has a bound there."""


@dataclass(frozen=True, slots=True)
class PrefillCheck:
    """The comparison of a text in pieces with one pass.

    Attributes:
        dtype: The dtype of the computation.
        pieces: A name of ``PIECES``.
        kl: Mean KL divergence of the pieces' predictions from one pass's, in nats.
        largest: The largest difference of a logit.
        kl_bound: The largest allowed ``kl``.
        largest_bound: The largest allowed ``largest``; None if it has no bound.
    """

    dtype: str
    pieces: str
    kl: float
    largest: float
    kl_bound: float
    largest_bound: float | None

    @property
    def passed(self) -> bool:
        """Whether both are within their bounds."""
        bound = np.inf if self.largest_bound is None else self.largest_bound
        return self.kl <= self.kl_bound and self.largest <= bound


def check_prefill(model: Model, text: Sequence[int]) -> tuple[PrefillCheck, ...]:
    """Compute a text in one pass, and then in pieces.

    Args:
        model: A model of any dtype.
        text: Repeated to ``TEXT`` tokens.
    """
    tokens = (list(text) * TEXT)[:TEXT]
    whole = _logits(model, tokens, [TEXT])
    name = str(model.model.norm.weight.dtype).removeprefix("mlx.core.")
    checks = []
    for pieces, sizes in PIECES.items():
        found = _logits(model, tokens, sizes)
        checks.append(
            PrefillCheck(
                dtype=name,
                pieces=pieces,
                kl=float(_divergence(whole, found).mean()),
                largest=float(np.abs(whole - found).max()),
                kl_bound=KL_BOUND,
                largest_bound=LARGEST_BOUNDS.get(name),
            )
        )
    return tuple(checks)


def _logits(
    model: Model, tokens: list[int], sizes: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Compute logits of some positions. Shape ``(P, V)``."""
    cache, parts, start = model.make_cache(), [], 0
    for size in sizes:
        parts.append(model.model(mx.array(tokens[start : start + size])[None], cache))
        mx.eval(parts[-1])
        start += size
    hidden = mx.concatenate(parts, axis=1)
    positions = [*range(0, start - 1, EVERY), start - 1]
    return np.array(model.lm_head(hidden[0, mx.array(positions)]).astype(mx.float32))


def _divergence(
    whole: npt.NDArray[np.float32], pieces: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Return each position's KL divergence from one pass's predictions."""
    exact, found = _log_softmax(whole), _log_softmax(pieces)
    divergence: npt.NDArray[np.float64] = (np.exp(exact) * (exact - found)).sum(axis=-1)
    return divergence


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(
        np.exp(shifted).sum(axis=-1, keepdims=True)
    )
    return result
