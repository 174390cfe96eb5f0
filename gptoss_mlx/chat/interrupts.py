"""Ctrl-C during an answer: it stops the answer at a safe place."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

__all__ = ["Interrupts"]

# If pressed again after this long, it does not wait for a safe place.
PATIENCE_S = 1.0


class Interrupts:
    """Turns Ctrl-C into a KeyboardInterrupt, once.

    Stopping a model in the middle of a step would leave half of it in its cache, and half a
    line on the screen. So the signal waits for ``check``, except while ``anywhere`` is
    true, for example during a long tool call, and when the user presses it again.

    Attributes:
        anywhere: Whether to interrupt at once, without waiting for ``check``.
    """

    def __init__(self) -> None:
        self.anywhere = False
        self._asked_at: float | None = None
        self._raised = False
        self._before: Any = None

    def __enter__(self) -> Self:
        """Install the handler. Only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the previous handler."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise if Ctrl-C was pressed.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self._asked_at is not None and not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        again = self._asked_at is not None and now - self._asked_at > PATIENCE_S
        if self._asked_at is None or again:
            self._asked_at = now
        if again or (self.anywhere and not self._raised):
            self._raised = True
            raise KeyboardInterrupt
