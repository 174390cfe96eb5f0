"""A Mac that is not here, to plan for."""

from __future__ import annotations

from fractions import Fraction

from gptoss_mlx.device import Machine

__all__ = ["another_mac", "assumed_limit_bytes", "assumed_share"]

GIB = 1 << 30

# What Metal recommends on macOS 15 and earlier. Later ones recommend more.
SMALL_SHARE, LARGE_SHARE = Fraction(2, 3), Fraction(3, 4)
LARGE_MEMORY_BYTES = 36 * GIB


def another_mac(memory_bytes: int, limit_bytes: int | None = None) -> Machine:
    """Describe a Mac with so much memory.

    Args:
        memory_bytes: Its memory.
        limit_bytes: How much of it a program may use. None: ``assumed_limit_bytes``.
    """
    if limit_bytes is None:
        limit_bytes = assumed_limit_bytes(memory_bytes)
    return Machine("another Mac", "gpu", "bfloat16", memory_bytes, limit_bytes, "", (15,))


def assumed_share(memory_bytes: int) -> Fraction:
    """Return the share of a Mac's memory that a program is assumed to be allowed."""
    return SMALL_SHARE if memory_bytes < LARGE_MEMORY_BYTES else LARGE_SHARE


def assumed_limit_bytes(memory_bytes: int) -> int:
    """Return how much memory a program is assumed to be allowed on a Mac."""
    return int(memory_bytes * assumed_share(memory_bytes))
