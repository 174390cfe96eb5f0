"""Work in a daemon thread, which the calling thread can wait for and stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Background", "Stop"]

T = TypeVar("T")

LOOK_S = 0.1
FAREWELL_S = 1.0

Stop = Callable[[], None]
"""Called by the work from time to time; ends it by an exception if it is to stop."""


class _StoppedError(Exception):
    """Raised inside the work."""


class Background(Generic[T]):
    """Work that has begun in another thread.

    A thread that hangs in the system does not keep the program from ending.
    """

    def __init__(self, work: Callable[[Stop], T]) -> None:
        """Begin.

        Args:
            work: Gets a function that it must call from time to time.
        """
        self._work = work
        self._stopped = threading.Event()
        self._results: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self) -> T:
        """Wait for the result; a signal is handled meanwhile.

        Raises:
            Exception: What the work has raised.
        """
        while self._thread.is_alive():
            self._thread.join(LOOK_S)
        if self._error is not None:
            raise self._error
        return self._results[0]

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop the work; a thread that hangs is left alone."""
        self._stopped.set()
        self._thread.join(FAREWELL_S)

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._check))
        except Exception as error:
            self._error = error

    def _check(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError
