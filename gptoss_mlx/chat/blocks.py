"""Text that comes piece by piece, and is printed block by block."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType

from gptoss_mlx.chat.screen import Screen

__all__ = ["BlockStream"]


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
        end = self._whole(self._text)
        block, self._text = self._text[:end], self._text[end:]
        rest = self._render(self._text) if self._text.strip() else None
        if block.strip():
            self._screen.print(self._render(block), below=rest)
        else:
            self._screen.show(rest)

    def finish(self) -> None:
        """Print what is left: nothing more comes."""
        block, self._text = self._text, ""
        if block.strip():
            self._screen.print(self._render(block), below=None)
