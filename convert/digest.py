"""sha256 computed in a thread of its own, a few pieces behind the caller."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Executor, Future

__all__ = ["BackgroundSha256"]

# The most pieces that wait to be hashed.
PIECES_BEHIND = 8


class BackgroundSha256:
    """A sha256 that an executor computes while its caller reads and writes on.

    hashlib, read and write release the interpreter lock: they run in parallel.
    """

    def __init__(self, executor: Executor, begin: bytes = b"") -> None:
        """Begin.

        Args:
            executor: Has one thread, so that the pieces are hashed in their order.
            begin: The first bytes.
        """
        self._executor = executor
        self._digest = hashlib.sha256(begin)
        self._waiting: deque[Future[None]] = deque()

    def update(self, piece: bytes) -> None:
        """Add a piece, which must not change any more; wait if too many do already."""
        if len(self._waiting) == PIECES_BEHIND:
            self._waiting.popleft().result()
        self._waiting.append(self._executor.submit(self._digest.update, piece))

    def hexdigest(self) -> str:
        """Return the digest of all pieces so far, in hexadecimal."""
        while self._waiting:
            self._waiting.popleft().result()
        return self._digest.hexdigest()
