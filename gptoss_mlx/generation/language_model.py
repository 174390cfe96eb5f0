"""The parts of a model that generation needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import mlx.core as mx

from gptoss_mlx.model.cache import Cache

__all__ = ["HiddenStates", "LanguageModel", "Layerwise"]


class HiddenStates(Protocol):
    """A model without its head."""

    def __call__(
        self, inputs: mx.array, cache: Any, /, *, last_only: bool = False
    ) -> mx.array:
        """Return ``(B, L, hidden_size)``, or ``(B, 1, hidden_size)`` with last_only."""


@runtime_checkable
class Layerwise(Protocol):
    """``HiddenStates`` that take many chunks of a prompt at once, a layer at a time.

    They read weights from files, and wait for them: a step cannot be queued.
    """

    def prefill(
        self,
        chunks: Sequence[mx.array],
        cache: Any,
        progress: Callable[[int, int], None] | None = None,
    ) -> mx.array:
        """Return the last token's hidden state ``(1, 1, hidden_size)``."""


class LanguageModel(Protocol):
    """The parts of a model that generation needs, as in ``gptoss_mlx.model.Model``."""

    @property
    def model(self) -> HiddenStates:
        """Compute hidden states from tokens ``(B, L)`` and a cache."""

    @property
    def lm_head(self) -> Callable[[mx.array], mx.array]:
        """Compute logits ``(B, L, V)`` from hidden states."""

    def make_cache(self) -> list[Cache]:
        """Make an empty cache, one entry per layer."""
