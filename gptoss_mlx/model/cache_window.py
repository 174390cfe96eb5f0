"""A copy of a sliding layer's window, to restore it later."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from gptoss_mlx.model.cache_buffers import copied

__all__ = ["MAX_WINDOWS", "SPARE_TOKENS", "Window"]

SPARE_TOKENS = 8
"""How many positions before its own a ``Window`` can be restored at, if it has them."""

MAX_WINDOWS = 16
"""How many windows of each sliding layer are kept by default."""


@dataclass(frozen=True, slots=True)
class Window:
    """A copy of a sliding layer's keys and values at one position, for ``restore``.

    Attributes:
        offset: The position: the number of tokens before it.
        keys: Keys of the last tokens before it. Shape ``(B, Hk, n, D)``.
        values: Shape ``(B, Hk, n, D)``.
    """

    offset: int
    keys: mx.array
    values: mx.array

    @property
    def first(self) -> int:
        """The position of the first key."""
        return self.offset - int(self.keys.shape[2])

    def reaches(self, position: int, window: int) -> bool:
        """Whether a layer with this ``window`` can continue at ``position``."""
        needed = max(position - (window - 1), 0)
        return self.first <= needed and position <= self.offset

    def until(self, position: int) -> Window:
        """Return the part before ``position``, which must not be above ``offset``."""
        if position == self.offset:
            return self
        n = position - self.first
        return Window(position, copied(self.keys[:, :, :n]), copied(self.values[:, :, :n]))
