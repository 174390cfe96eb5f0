"""Copies of the sliding layers' windows, to which a prompt cache can go back."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from gptoss_mlx.model.cache_window import Window

__all__ = ["Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The windows of all sliding layers at one position.

    Attributes:
        first: The first position it can restore, at most SPARE_TOKENS before ``offset``.
        offset: The last position it can restore, where it was taken.
        windows: One per sliding layer, in order.
    """

    first: int
    offset: int
    windows: tuple[Window, ...]

    @property
    def arrays(self) -> list[mx.array]:
        """Keys and values, for ``mx.eval``."""
        return [array for w in self.windows for array in (w.keys, w.values)]

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(array.nbytes for array in self.arrays)
