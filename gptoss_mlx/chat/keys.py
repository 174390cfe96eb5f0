"""Keys that are pressed while the model writes or loads."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

__all__ = ["CTRL_O", "Keys", "as_typed", "output_is_kept"]

CTRL_O = "\x0f"

# Arrows, function keys and Alt combinations: they begin with Escape.
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)


class Keys:
    """Reads single keys from the terminal, without waiting.

    Ctrl-C remains a signal. If stdin is not a terminal, there are no keys.

    Attributes:
        text: The typed text, for the next prompt.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Read from ``descriptor``, or from stdin."""
        self._descriptor = descriptor
        self._saved: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._raw = ""

    def __enter__(self) -> Self:
        """Read single keys without echo."""
        try:
            import termios

            if self._descriptor is None:
                self._descriptor = sys.stdin.fileno()
            self._saved = _mode(self._descriptor)
        except (ImportError, OSError, ValueError, termios.error):
            return self
        changed = [*self._saved[:6], [*self._saved[6]]]
        # IEXTEN: otherwise macOS handles Ctrl-O and Ctrl-V itself.
        changed[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        changed[3] |= termios.ISIG
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSANOW, changed)
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the terminal's mode."""
        if self._saved is None or self._descriptor is None:
            return
        import termios

        try:
            self.poll()
        finally:
            # Pending input must not be discarded.
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._saved)

    def poll(self) -> int:
        """Read the pressed keys; return how many of them were Ctrl-O."""
        if self._saved is None or self._descriptor is None:
            return 0
        pressed = ""
        while select.select([self._descriptor], [], [], 0)[0]:
            data = os.read(self._descriptor, 4096)
            if not data:  # the terminal is closed
                break
            pressed += self._decoder.decode(data)
        self._raw += pressed
        return pressed.count(CTRL_O)

    @property
    def text(self) -> str:  # noqa: D102 - the class describes it
        return as_typed(self._raw)


@contextmanager
def output_is_kept(descriptor: int | None = None) -> Iterator[None]:
    """Keep Ctrl-O from hiding the terminal's output while keys are not read, as on macOS.

    Args:
        descriptor: The terminal. None: stdout, if it is a terminal: a program after a pipe
            may use the terminal itself.
    """
    try:
        import termios

        terminal = sys.stdout.fileno() if descriptor is None else descriptor
        saved = _mode(terminal)
    except (ImportError, OSError, ValueError, termios.error):
        yield
        return
    if _in_background(terminal):  # setting a mode would stop the program
        yield
        return
    changed = [*saved]
    changed[3] &= ~termios.IEXTEN
    termios.tcsetattr(terminal, termios.TCSANOW, changed)
    try:
        yield
    finally:
        if not _in_background(terminal):
            termios.tcsetattr(terminal, termios.TCSANOW, saved)


def _mode(terminal: int) -> list[Any]:
    """Return a terminal's mode without FLUSHO, which Ctrl-O sets on macOS."""
    import termios

    mode = termios.tcgetattr(terminal)
    mode[3] &= ~getattr(termios, "FLUSHO", 0)
    return mode


def _in_background(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # not the terminal from which the program was started
        return False


def as_typed(raw: str) -> str:
    """Return the text that the key presses would have typed."""
    text: list[str] = []
    for key in _ESCAPES.sub("", raw):
        if key in "\x7f\b":
            del text[-1:]
        elif key in "\r\n":
            text.append("\n")
        elif key == "\x15":  # Ctrl-U
            text.clear()
        elif key.isprintable() or key == "\t":
            text.append(key)
    # Enter at the end separates it from text that is typed later.
    typed = "".join(text).strip("\n")
    return f"{typed}\n" if typed and text[-1] == "\n" else typed
