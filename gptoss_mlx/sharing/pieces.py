"""Fetches pieces of files over several connections, and hands them out in order.

So a file is written and hashed from its beginning while later pieces still arrive: its
length is where an interrupted transfer continues.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from gptoss_mlx.sharing.hub_answers import Dropped
from gptoss_mlx.sharing.peer import Peer

__all__ = ["CONNECTIONS", "PIECE_BYTES", "Piece", "fetch_pieces"]

PIECE_BYTES = 4 << 20
CONNECTIONS = 4
WINDOW = 8
"""The most pieces in memory."""
ATTEMPTS = 5
"""Tries in a row, each with fewer than ``TRY_BYTES``, before the transfer ends."""
TRY_BYTES = 64 << 10
FIRST_PAUSE_S = 1.0
SAME_S = 0.5
"""Seconds after a line about a new try in which there is no other one."""
NEWS_S = 0.1
QUIET_S = 300.0
"""Seconds in which ``WORTH_BYTES`` must arrive."""
WORTH_BYTES = 1 << 20
FAREWELL_S = 0.5


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of a file.

    Attributes:
        path: ``NAME/FILE``.
        total: The file's length.
    """

    path: str
    start: int
    nbytes: int
    total: int


def fetch_pieces(
    peer: Peer,
    pieces: Sequence[Piece],
    *,
    arrived: Callable[[int], None],
    say: Callable[[str], None],
) -> Generator[memoryview]:
    """Yield the bytes of each piece, in order. A view is valid until the next one.

    A connection or an answer can hang only in a daemon thread, so Ctrl-C ends the caller
    at once.

    Args:
        peer: The machine that shares the files.
        pieces: Of ``PIECE_BYTES`` at most.
        arrived: Called with a number of bytes that have arrived since it was last called.
        say: Called with a sentence about each new try.

    Raises:
        DownloadError: The machine cannot be reached, or sends something else.
    """
    crew = _Crew(peer, pieces)
    heard, heard_at, quiet = 0, time.monotonic(), 0

    def tell() -> int:
        nonlocal heard
        for line in crew.lines():
            say(line)
        new = crew.received - heard
        heard += new
        arrived(new)
        return new

    crew.start()
    try:
        for index in range(len(pieces)):
            while (view := crew.take(index, NEWS_S)) is None:
                quiet += tell()
                now = time.monotonic()
                if quiet >= WORTH_BYTES:
                    quiet, heard_at = 0, now
                elif now - heard_at > QUIET_S:
                    raise peer.unreachable(f"{quiet:,} bytes in the last {QUIET_S:.0f} s")
            # A new try that ended within a wait is told too.
            tell()
            heard_at = time.monotonic()
            yield view
            crew.give_back(index)
    finally:
        crew.dismiss()


class _Crew:
    """The threads that fetch, and what they have fetched."""

    def __init__(self, peer: Peer, pieces: Sequence[Piece]) -> None:
        self._peer = peer
        self._pieces = pieces
        self._next = 0
        self._changed = threading.Condition()
        self._done: dict[int, tuple[bytearray, memoryview]] = {}
        self._buffers: list[bytearray] = []
        self._room = threading.Semaphore(WINDOW)
        self._stop = threading.Event()
        self._lines: list[str] = []
        self._told_at = -SAME_S
        self._error: Exception | None = None
        self._contact = False
        self._threads: list[threading.Thread] = []
        self.received = 0

    def start(self) -> None:
        for _ in range(min(CONNECTIONS, len(self._pieces))):
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self, index: int, wait_s: float) -> memoryview | None:
        """Return a piece, or None if it is not there after a while."""
        with self._changed:
            if index not in self._done and self._error is None:
                self._changed.wait(wait_s)
            if self._error is not None:
                raise self._error
            done = self._done.get(index)
            return None if done is None else done[1]

    def give_back(self, index: int) -> None:
        """Take the buffer of a piece that is written for another one."""
        with self._changed:
            self._buffers.append(self._done.pop(index)[0])
        self._room.release()

    def lines(self) -> list[str]:
        with self._changed:
            lines, self._lines = self._lines, []
        return lines

    def _tell(self, line: str) -> None:
        """Keep a line to be told; other connections find the same at the same time."""
        with self._changed:
            now = time.monotonic()
            if now - self._told_at > SAME_S:
                self._told_at = now
                self._lines.append(line)

    def dismiss(self) -> None:
        """Stop; a thread that hangs is left alone."""
        self._stop.set()
        for _ in self._threads:
            self._room.release()
        until = time.monotonic() + FAREWELL_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        try:
            while True:
                # Before the next piece is chosen, so that the first one missing has room.
                self._room.acquire()
                with self._changed:
                    index, self._next = self._next, self._next + 1
                    buffer = self._buffers.pop() if self._buffers else bytearray(0)
                if index >= len(self._pieces) or self._stop.is_set():
                    return
                piece = self._pieces[index]
                buffer = buffer or bytearray(PIECE_BYTES)
                view = memoryview(buffer)[: piece.nbytes]
                self._fetch(piece, view)
                with self._changed:
                    self._done[index] = buffer, view
                    self._changed.notify_all()
        except Exception as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _fetch(self, piece: Piece, view: memoryview) -> None:
        got = failures = 0

        def hear(nbytes: int) -> None:
            nonlocal got
            got += nbytes
            self._contact = True
            with self._changed:
                self.received += nbytes

        while got < piece.nbytes and not self._stop.is_set():
            before = got
            try:
                self._peer.read_into(
                    piece.path,
                    piece.start + got,
                    view[got:],
                    piece.total,
                    hear=hear,
                    stop=self._stop,
                )
            except Dropped as dropped:
                if not dropped.contact and not self._contact:
                    raise self._peer.unreachable(str(dropped)) from dropped
                failures = 1 if got - before >= TRY_BYTES else failures + 1
                if failures == ATTEMPTS:
                    raise self._peer.unreachable(str(dropped)) from dropped
                pause = FIRST_PAUSE_S * 2 ** (failures - 1)
                self._tell(f"{piece.path}: {dropped}. Trying again in {pause:.0f} s.")
                self._stop.wait(pause)
