"""Reads a file that was just written from the disk, not from the system's page cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx.errors import storage_errors
from gptoss_mlx.files import open_file

__all__ = ["bypass_cache", "hash_from_disk"]

PIECE_BYTES = 4 << 20


def bypass_cache(descriptor: int) -> None:
    """Let a file be read from the disk, and not from what the system keeps of it.

    On Linux the kept pages are dropped, if they are synced. Where neither is possible,
    nothing is done.
    """
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, getattr(fcntl, "F_NOCACHE", 48), 1)
        elif hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        return  # advice only: the bytes are read all the same


def hash_from_disk(path: Path, hear: Callable[[int], None]) -> str:
    """Return a file's sha256 in hexadecimal, from the disk where possible.

    Args:
        hear: Called with the bytes of each piece.

    Raises:
        WrongFileError: It is not a file.
        StorageError: It cannot be read.
    """
    digest = hashlib.sha256()
    with open_file(path) as file, storage_errors(path):
        bypass_cache(file.fileno())
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            hear(len(piece))
    return digest.hexdigest()
