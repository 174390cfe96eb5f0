"""Text that comes piece by piece, and is printed block by block."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import RenderableType
from rich.text import Text

from gptoss_mlx.chat.screen import Screen

__all__ = ["BlockStream"]

# Of a longer block only the end is shown while it is written, and as it is.
MAX_SHOWN = 20_000
SHOWN_END = 4_000


class BlockStream:
    """Prints each block once it is whole, and shows the one that is being written."""

    def __init__(
        self,
        screen: Screen,
        *,
        render: Callable[[str], RenderableType],
        whole: Callable[[str], int],
    ) -> None:
        """Begin with no text.

        Args:
            screen: Where to.
            render: Makes of a text what is shown.
            whole: Tells how many characters at the beginning of a text are blocks that
                nothing which follows can change.
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
        """Print what is left: nothing more comes."""
        while block := self._take():
            self._print(block)
        block, self._text = self._text, ""
        self._print(block)

    def _take(self) -> str:
        """Take the blocks that are whole from the beginning of the text."""
        end = self._whole(self._text)
        block, self._text = self._text[:end], self._text[end:]
        return block

    def _print(self, block: str) -> None:
        if block.strip():
            self._screen.print(self._render(block), below=None)

    def _shown(self) -> RenderableType | None:
        """Make of what is being written what is shown of it."""
        if not self._text.strip():
            return None
        if len(self._text) > MAX_SHOWN:
            return Text(self._text[-SHOWN_END:])
        return self._render(self._text)
