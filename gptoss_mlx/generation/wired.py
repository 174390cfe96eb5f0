"""Wires memory while tokens are computed, so that macOS does not move it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

from gptoss_mlx.device import this_machine

__all__ = ["wired"]

_lock = threading.Lock()
_held: dict[object, int] = {}  # MLX has one limit; several models may answer at once


@contextmanager
def wired(nbytes: int) -> Iterator[None]:
    """Wire up to ``nbytes`` until the context ends; 0 changes nothing."""
    if not nbytes:
        yield
        return
    key = object()
    try:
        _set(key, nbytes)
        yield
    finally:
        try:
            mx.synchronize()  # queued work still needs it
        finally:
            _set(key, 0)


def _set(key: object, nbytes: int) -> None:
    with _lock:
        if nbytes:
            _held[key] = nbytes
        else:
            _held.pop(key, None)
        # MLX refuses a limit above Metal's recommendation.
        mx.set_wired_limit(min(sum(_held.values()), this_machine().limit_bytes))
