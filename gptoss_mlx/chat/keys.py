"""Keys that are pressed while the model writes."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
from typing import Any, Self

__all__ = ["CTRL_O", "Keys", "as_typed"]

CTRL_O = "\x0f"

# Arrows, function keys and Alt with a key: they begin with Escape.
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)


class Keys:
    """Reads single keys from the terminal, without waiting for them.

    Ctrl-C stays the signal that it is. Where stdin is no terminal there are no keys.

    Attributes:
        text: What was typed, for the next prompt.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        """Read from ``descriptor``, or else from stdin."""
        self._descriptor = descriptor
        self._saved: list[Any] | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._raw = ""

    def __enter__(self) -> Self:
        """Take single keys, and show none of them."""
        try:
            import termios

            if self._descriptor is None:
                self._descriptor = sys.stdin.fileno()
            self._saved = termios.tcgetattr(self._descriptor)
        except (ImportError, OSError, ValueError, termios.error):
            return self
        changed = [*self._saved[:6], [*self._saved[6]]]
        # IEXTEN: macOS would keep Ctrl-O and Ctrl-V to itself.
        changed[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        changed[3] |= termios.ISIG
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSANOW, changed)
        return self

    def __exit__(self, *exception: object) -> None:
        """Give the terminal back as it was."""
        if self._saved is None or self._descriptor is None:
            return
        import termios

        try:
            self.poll()
        finally:
            # Nothing that is still to be read may be thrown away.
            termios.tcsetattr(self._descriptor, termios.TCSANOW, self._saved)

    def poll(self) -> int:
        """Take the keys that were pressed; return how many of them were Ctrl-O."""
        if self._saved is None or self._descriptor is None:
            return 0
        pressed = ""
        while select.select([self._descriptor], [], [], 0)[0]:
            data = os.read(self._descriptor, 4096)
            if not data:  # The terminal is gone.
                break
            pressed += self._decoder.decode(data)
        self._raw += pressed
        return pressed.count(CTRL_O)

    @property
    def text(self) -> str:  # noqa: D102 - the class describes it
        return as_typed(self._raw)


def as_typed(raw: str) -> str:
    """Make of key presses the text that they would have written."""
    text: list[str] = []
    for key in _ESCAPES.sub("", raw):
        if key in "\x7f\b":
            del text[-1:]
        elif key in "\r\n":
            text.append("\n")
        elif key == "\x15":  # Ctrl-U
            text.clear()
        elif key.isprintable():
            text.append(key)
    return "".join(text).strip("\n")
