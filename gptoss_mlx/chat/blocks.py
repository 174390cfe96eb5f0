"""Prints a stream of text block by block."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import RenderableType
from rich.text import Text

from gptoss_mlx.chat.screen import Screen

__all__ = ["BlockStream"]

# While a longer block is written, only its end is shown, as plain text.
MAX_SHOWN = 20_000
SHOWN_END = 4_000


class BlockStream:
    """Prints each complete block, and shows the block that is being written."""

    def __init__(
        self,
        screen: Screen,
        *,
        render: Callable[[str], RenderableType],
        whole: Callable[[str], int],
    ) -> None:
        """Begin without any text.

        Args:
            screen: The screen to print on.
            render: Converts a text to a renderable.
            whole: Counts the characters at the beginning of a text that are complete
                blocks: later text cannot change them.
        """
        self._screen = screen
        self._render = render
        self._whole = whole
        self._text = ""

    def push(self, text: str) -> None:
        """Take the next piece."""
        self._text += text
        if not self._screen.due() or not self._text.strip():
            return
        begun = time.monotonic()
        block = self._take()
        rest = self._shown()
        if block.strip():
            self._screen.print(self._render(block), below=rest)
        else:
            self._screen.show(rest)
        self._screen.rest_after(begun)

    def finish(self) -> None:
        """Print the remaining text at the end of the stream."""
        while block := self._take():
            self._print(block)
        block, self._text = self._text, ""
        self._print(block)

    def _take(self) -> str:
        """Remove the complete blocks from the beginning of the text, and return them."""
        end = self._whole(self._text)
        block, self._text = self._text[:end], self._text[end:]
        return block

    def _print(self, block: str) -> None:
        if block.strip():
            self._screen.print(self._render(block), below=None)

    def _shown(self) -> RenderableType | None:
        """Return the renderable of the block that is being written."""
        if not self._text.strip():
            return None
        if len(self._text) > MAX_SHOWN:
            return Text(self._text[-SHOWN_END:])
        return self._render(self._text)
