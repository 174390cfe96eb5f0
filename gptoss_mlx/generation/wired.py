"""Keeps memory from being moved while tokens are computed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

from gptoss_mlx.device import this_machine

__all__ = ["wired"]

_lock = threading.Lock()
_held: dict[object, int] = {}  # MLX has one limit; several models may be answering


@contextmanager
def wired(nbytes: int) -> Iterator[None]:
    """Keep up to ``nbytes`` where they are until the context ends; 0 changes nothing."""
    if not nbytes:
        yield
        return
    key = object()
    try:
        _set(key, nbytes)
        yield
    finally:
        try:
            mx.synchronize()  # what is still computed counts on it
        finally:
            _set(key, 0)


def _set(key: object, nbytes: int) -> None:
    with _lock:
        if nbytes:
            _held[key] = nbytes
        else:
            _held.pop(key, None)
        # MLX refuses more than Metal recommends.
        mx.set_wired_limit(min(sum(_held.values()), this_machine().limit_bytes))
