"""A text read in chunks, and token by token, against the same text read at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from gptoss_mlx.model.transformer import Model

__all__ = ["PIECES", "PrefillCheck", "check_prefill"]

TEXT = 560
"""Tokens that are read: sliding caches move their window to a new buffer once in it."""

PIECES = {
    "chunks of 100": [100] * (TEXT // 100) + [TEXT % 100],
    "token by token": [480] + [1] * (TEXT - 480),
}
"""How many tokens are read at a time."""

# Logits are compared at every so many positions, and at the last.
EVERY = 24

KL_BOUND = 2e-3
LARGEST_BOUNDS = {"float32": 1e-3}
"""By the type that is computed in. In bf16 an expert may flip: there KL alone counts."""


@dataclass(frozen=True, slots=True)
class PrefillCheck:
    """A text in pieces against the whole.

    Attributes:
        dtype: What was computed in.
        pieces: A name of ``PIECES``.
        kl: Mean divergence of the pieces' predictions from the whole's, in nats.
        largest: The furthest that a logit is off.
        kl_bound: What ``kl`` may be at most.
        largest_bound: What ``largest`` may be at most; None where it is only told.
    """

    dtype: str
    pieces: str
    kl: float
    largest: float
    kl_bound: float
    largest_bound: float | None

    @property
    def passed(self) -> bool:
        """Whether both are near enough."""
        bound = np.inf if self.largest_bound is None else self.largest_bound
        return self.kl <= self.kl_bound and self.largest <= bound


def check_prefill(model: Model, text: Sequence[int]) -> tuple[PrefillCheck, ...]:
    """Read a text at once, and then in pieces.

    Args:
        model: Of any type.
        text: It is repeated to ``TEXT`` tokens.
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
    """Return each position's KL divergence from the whole's predictions."""
    exact, found = _log_softmax(whole), _log_softmax(pieces)
    divergence: npt.NDArray[np.float64] = (np.exp(exact) * (exact - found)).sum(axis=-1)
    return divergence


def _log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = shifted - np.log(
        np.exp(shifted).sum(axis=-1, keepdims=True)
    )
    return result
