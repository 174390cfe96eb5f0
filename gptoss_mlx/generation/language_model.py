"""The parts of a model that generation needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import mlx.core as mx

from gptoss_mlx.model.cache import Cache

__all__ = ["HiddenStates", "LanguageModel"]


class HiddenStates(Protocol):
    """A model without its head."""

    def __call__(
        self, inputs: mx.array, cache: Any, /, *, last_only: bool = False
    ) -> mx.array:
        """Return ``(B, L, hidden_size)``, or ``(B, 1, hidden_size)`` with last_only."""


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
