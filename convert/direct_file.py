"""Writes a large file past the page cache, where the system and the file system can.

The page cache would fill with what is not read again, at the cost of other programs' files
and, on Linux, of more processor time than the disk takes.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["DirectFile"]

# A multiple of the block of every disk: Linux writes past its page cache in whole ones.
BLOCK_BYTES = 4096
BUFFER_BYTES = 4 << 20


class DirectFile:
    """A new file that is written from its beginning to its end, in a thread of its own.

    Pieces are copied into one buffer while the one before is being written.
    """

    def __init__(self, path: Path) -> None:
        """Create or replace the file.

        Raises:
            OSError: The system refuses.
        """
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        _bypass_cache(self._descriptor, bypass=True)
        # Anonymous maps begin at a page, as a direct write must.
        self._filling, self._spare = (mmap.mmap(-1, BUFFER_BYTES) for _ in range(2))
        self._filled = 0
        self._written = 0
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None

    @property
    def nbytes(self) -> int:
        """The file's length so far."""
        return self._written + self._filled

    def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises:
            OSError: The system refuses this piece, or one before it.
        """
        rest = memoryview(piece)
        while rest:
            taken = min(BUFFER_BYTES - self._filled, len(rest))
            end = self._filled + taken
            self._filling[self._filled : end] = rest[:taken]
            self._filled, rest = end, rest[taken:]
            if end == BUFFER_BYTES:
                self._submit()

    def flush(self) -> int:
        """Write what is left.

        Returns:
            The file's descriptor, to sync it.

        Raises:
            OSError: The system refuses.
        """
        if whole := self._filled // BLOCK_BYTES * BLOCK_BYTES:
            rest = self._filling[whole : self._filled]
            self._filled = whole
            self._submit()
            self._filling[: len(rest)] = rest
            self._filled = len(rest)
        self._wait()
        if self._filled:
            _bypass_cache(self._descriptor, bypass=False)
            self._submit()
            self._wait()
        return self._descriptor

    def _submit(self) -> None:
        """Begin to write the buffer, once the one before it is written."""
        self._wait()
        self._writing = self._executor.submit(
            _write_at, self._descriptor, self._filling, self._filled, self._written
        )
        self._written += self._filled
        self._filled = 0
        self._filling, self._spare = self._spare, self._filling

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown()
        os.close(self._descriptor)


def _write_at(descriptor: int, buffer: mmap.mmap, nbytes: int, offset: int) -> None:
    with memoryview(buffer) as whole:
        done = 0
        while done < nbytes:
            with whole[done:nbytes] as rest:
                try:
                    done += os.pwrite(descriptor, rest, offset + done)
                except OSError as error:
                    # The file system has larger blocks, or a short write has left the grid.
                    if error.errno != errno.EINVAL or not _bypass_cache(
                        descriptor, bypass=False
                    ):
                        raise


def _bypass_cache(descriptor: int, *, bypass: bool) -> bool:
    """Have writes bypass the page cache, or no longer.

    Returns:
        Whether that has changed something.
    """
    if (no_cache := getattr(fcntl, "F_NOCACHE", None)) is not None:  # macOS
        fcntl.fcntl(descriptor, no_cache, int(bypass))
        return False
    flag: int = getattr(os, "O_DIRECT", 0)
    before = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    after = before | flag if bypass else before & ~flag
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, after)
    except OSError as error:
        if error.errno != errno.EINVAL:  # not on this file system
            raise
        return False
    return after != before
