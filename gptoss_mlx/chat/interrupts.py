"""Ctrl-C while an answer comes: it stops the answer where that is safe."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any, Self

__all__ = ["Interrupts"]

# Pressed again after this long, it does not wait for a safe place.
PATIENCE_S = 1.0


class Interrupts:
    """Turns Ctrl-C into a KeyboardInterrupt, once.

    A model that is stopped in the middle of a step would leave half of it in its cache,
    and a screen half a line. So the signal is kept until ``check`` is called, but while
    ``anywhere`` is true, as for a tool that takes long, and for those who press it again.

    Attributes:
        anywhere: Do not wait for ``check``.
    """

    def __init__(self) -> None:
        self.anywhere = False
        self._asked_at: float | None = None
        self._raised = False
        self._before: Any = None

    def __enter__(self) -> Self:
        """Listen. Only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the signal to whom it was left before."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Be stopped here, if that was asked for.

        Raises:
            KeyboardInterrupt: It was.
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
