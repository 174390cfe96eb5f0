"""Downloads files by HTTP ranges: several at once, each from the byte where it stopped.

A name lookup, connection or answer can hang only in a daemon thread. The calling
thread waits for messages, so Ctrl-C ends it at once; the written bytes stay.
"""

from __future__ import annotations

import os
import shlex
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from gptoss_mlx.errors import DownloadError, WrongFileError, storage_errors
from gptoss_mlx.sharing.hub import Hub
from gptoss_mlx.sharing.hub_answers import Dropped

__all__ = ["Progress", "Wanted", "open_partial", "transfer", "write_whole"]

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total)."""

CONNECTIONS = 4
ATTEMPTS = 5
"""Tries in a row, each with fewer than ``WORTH_BYTES``, before the download ends."""
WORTH_BYTES = 1 << 20
FIRST_PAUSE_S = 1.0
NEWS_S = 0.1
QUIET_S = 300.0
"""Seconds in which ``WORTH_BYTES`` must arrive."""
FAREWELL_S = 0.5


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to download.

    Attributes:
        nbytes: Its required length.
        partial: Path of the partial file. Its bytes are the file's beginning.
    """

    name: str
    nbytes: int
    partial: Path

    @property
    def have(self) -> int:
        """Length of the partial file."""
        with storage_errors(self.partial):
            return self.partial.stat().st_size if self.partial.exists() else 0


def transfer(
    hub: Hub,
    files: Sequence[Wanted],
    *,
    progress: Progress,
    say: Callable[[str], None],
    patience_s: float,
) -> None:
    """Download files until each has its size; their digests are checked later.

    Args:
        progress: Called with (bytes of all files, bytes in total), earlier bytes included.
        say: Called with a sentence about each new try.
        patience_s: Seconds to wait for the first answer.

    Raises:
        DownloadError: The Hub cannot be reached, or sends something else.
        StorageError: The system refuses; NoSpaceError if the disk is full.
    """
    crew = _Crew(hub, files)
    total = sum(file.nbytes for file in files)
    began = quiet_since = time.monotonic()
    heard = 0
    # Before any byte arrives: the rate counts from here.
    progress(sum(crew.have.values()), total)
    try:
        crew.start()
        left = len(files)
        while left:
            progress(sum(crew.have.values()), total)
            try:
                news = crew.news.get(timeout=NEWS_S)
            except Empty:
                news = ""
            if news is None:
                left -= 1
            elif isinstance(news, Exception):
                raise news
            elif news:
                say(news)
            now, received = time.monotonic(), sum(crew.received.values())
            if not crew.contact.is_set() and now - began > patience_s:
                raise hub.unreachable(f"no answer in {patience_s:.0f} s")
            if received - heard >= WORTH_BYTES:
                heard, quiet_since = received, now
            elif now - quiet_since > QUIET_S:
                raise hub.unreachable(
                    f"{received - heard:,} bytes in the last {QUIET_S:.0f} s"
                )
        progress(total, total)
    finally:
        crew.dismiss()


class _Crew:
    """The download threads, and their messages.

    Attributes:
        news: None for each complete file, a sentence, or the error that ends the transfer.
        have: Written bytes of each file.
        received: Received bytes of each file, including bytes that were already there.
        contact: Set once the Hub has answered.
    """

    def __init__(self, hub: Hub, files: Sequence[Wanted]) -> None:
        self._hub = hub
        self._files = sorted(files, key=lambda file: file.nbytes)
        self._left = iter(self._files)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.news: SimpleQueue[str | Exception | None] = SimpleQueue()
        self.have = {file.name: file.have for file in files}
        self.received = {file.name: 0 for file in files}
        self.contact = threading.Event()

    def start(self) -> None:
        for _ in range(min(CONNECTIONS, len(self._files))):
            thread = threading.Thread(target=self._work, daemon=True)
            self._threads.append(thread)
            thread.start()

    def dismiss(self) -> None:
        """Stop all writing; a thread that hangs is left alone."""
        self._stop.set()
        until = time.monotonic() + FAREWELL_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    file = next(self._left, None)
                if file is None:
                    return
                if self._fetch(file):
                    self.news.put(None)
        except Exception as error:
            self.news.put(error)

    def _fetch(self, file: Wanted) -> bool:
        """Download a file; return whether it is complete."""
        failures = 0
        while True:
            before = self.received[file.name]
            try:
                return self._attempt(file)
            except Dropped as dropped:
                if not dropped.contact and not self.contact.is_set():
                    raise self._hub.unreachable(str(dropped)) from dropped
                if self.received[file.name] - before >= WORTH_BYTES:
                    failures = 0
                failures += 1
                if failures == ATTEMPTS:
                    raise self._hub.unreachable(str(dropped)) from dropped
                pause = dropped.pause_s or FIRST_PAUSE_S * 2 ** (failures - 1)
                self.news.put(f"{file.name}: {dropped}. Trying again in {pause:.0f} s.")
                if self._stop.wait(pause):
                    return False

    def _attempt(self, file: Wanted) -> bool:
        descriptor = open_partial(file.partial)
        try:
            have = os.fstat(descriptor).st_size
            if have == file.nbytes:
                return True
            with self._hub.request(file.name, file.nbytes, have) as (skip, pieces):
                self.contact.set()
                for piece in pieces:
                    if self._stop.is_set():
                        return False
                    self.received[file.name] += len(piece)
                    new = piece[skip:]
                    skip = max(0, skip - len(piece))
                    have += len(new)
                    if have > file.nbytes:
                        raise DownloadError(
                            f"{file.name} must have {file.nbytes:,} bytes, "
                            "but the Hub sends more.",
                            hint=self._hub.place_hint(),
                        )
                    with storage_errors(file.partial):
                        write_whole(descriptor, new)
                    self.have[file.name] = have
            if have < file.nbytes:
                raise Dropped(f"the connection ended {file.nbytes - have:,} bytes early")
            return True
        finally:
            os.close(descriptor)


def open_partial(path: Path) -> int:
    """Open a partial file to append to it, without following a link or waiting for a pipe.

    Raises:
        WrongFileError: It is not a regular file, or has another name.
        StorageError: The system refuses.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    with storage_errors(path):
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        os.close(descriptor)
        raise WrongFileError(
            f"{path}: is a link, a pipe or a device, not a file of its own.",
            hint=f"Remove it: rm {shlex.quote(str(path))}",
        )
    return descriptor


def write_whole(descriptor: int, piece: bytes | memoryview) -> None:
    """Write all of a piece.

    Raises:
        OSError: The system refuses.
    """
    while piece:
        piece = piece[os.write(descriptor, piece) :]
