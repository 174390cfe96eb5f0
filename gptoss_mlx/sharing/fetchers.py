"""Who fetches what from this machine."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

__all__ = ["Fetch", "Fetchers"]

MAX_FETCHES = 1000


@dataclass(slots=True)
class Fetch:
    """One machine's fetching of one file.

    Attributes:
        client: The machine's address.
        file: ``NAME/FILE``.
        nbytes: The file's length.
        sent: Bytes sent so far.
        last: When it was last sent something, by the monotonic clock.
    """

    client: str
    file: str
    nbytes: int
    sent: int = 0
    last: float = 0.0

    @property
    def percent(self) -> int:
        """Percentage of the file that was sent; bytes that were sent twice count once."""
        return min(100, self.sent * 100 // max(1, self.nbytes))


class Fetchers:
    """A record of fetches, written by the server's thread and read by another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fetches: dict[tuple[str, str], Fetch] = {}

    def sent(self, client: str, file: str, nbytes: int, total: int) -> None:
        """Record that ``nbytes`` bytes of a file of ``total`` bytes were sent."""
        with self._lock:
            fetch = self._fetches.get((client, file))
            if fetch is None or (fetch.sent >= fetch.nbytes > 0 and fetch.sent > 0):
                # Fetched again from the beginning.
                fetch = self._fetches[client, file] = Fetch(client, file, total)
                if len(self._fetches) > MAX_FETCHES:
                    del self._fetches[next(iter(self._fetches))]
            fetch.sent += nbytes
            fetch.last = time.monotonic()

    def since(self, moment: float) -> list[Fetch]:
        """Return copies of the fetches that were sent something since ``moment``."""
        with self._lock:
            return [
                Fetch(f.client, f.file, f.nbytes, f.sent, f.last)
                for f in self._fetches.values()
                if f.last >= moment
            ]
