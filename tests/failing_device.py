"""A device that fails when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

__all__ = ["OUT_OF_MEMORY", "TIMEOUT", "fail"]

OUT_OF_MEMORY = (
    "[METAL] Command buffer execution failed: Insufficient Memory "
    "(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
)
TIMEOUT = (
    "[METAL] Command buffer execution failed: Caused GPU Timeout Error "
    "(00000002:kIOGPUCommandBufferCallbackErrorTimeout)"
)


def fail(
    patch: pytest.MonkeyPatch, where: str, *, after: int = 0, text: str = OUT_OF_MEMORY
) -> Callable[[], bool]:
    """Let a function of MLX raise once.

    Args:
        where: ``eval`` as at the end of a chunk, ``async_eval`` as at a draw.
        after: How many calls go well before.

    Returns:
        Whether it has raised.
    """
    real = getattr(mx, where)
    calls = 0

    def failing(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            raise RuntimeError(text)
        real(*arguments)

    patch.setattr(mx, where, failing)
    return lambda: calls > after
