"""Shows the model's reasoning: one dim line, or all of it if the user asks."""

from __future__ import annotations

import time

from rich.text import Text

from gptoss_mlx.chat.blocks import BlockStream
from gptoss_mlx.chat.notices import tokens_text
from gptoss_mlx.chat.screen import Screen

__all__ = ["Reasoning", "reasoning_text"]


class Reasoning:
    """Reasoning while it is written.

    Folded, it is a line with the time and the tokens; unfolded, it is printed dim.
    """

    def __init__(self, screen: Screen, *, unfolded: bool) -> None:
        self._screen = screen
        self._begun = time.monotonic()
        self._tokens = 0
        self._text = ""
        self._printed = 0  # characters already printed
        self._stream: BlockStream | None = None
        if unfolded:
            self.unfold()

    def push(self, text: str) -> None:
        """Take the next piece."""
        self._tokens += 1
        self._text += text
        if self._stream is not None:
            self._stream.push(text)
            self._printed = len(self._text)
        else:
            self._screen.show_note(f"Reasoning {self._measured()} · Ctrl-O shows it")

    def unfold(self) -> None:
        """Print the reasoning so far, and continue to print it."""
        self._stream = BlockStream(self._screen, render=reasoning_text, whole=_paragraphs)
        self._stream.push(self._text[self._printed :])
        self._printed = len(self._text)

    def fold(self) -> None:
        """Stop printing it, after the current paragraph."""
        if self._stream is not None:
            self._stream.finish()
            self._stream = None

    def finish(self) -> None:
        """Leave one line with the time it took."""
        self.fold()
        self._screen.note(f"thought for {self._measured()}", cut=True)

    def _measured(self) -> str:
        seconds = time.monotonic() - self._begun
        return f"{seconds:.1f} s, {tokens_text(self._tokens)}"


def reasoning_text(text: str) -> Text:
    """Style reasoning. It is not Markdown."""
    return Text(text.strip("\n"), style="dim")


def _paragraphs(text: str) -> int:
    return text.rfind("\n\n") + 2 if "\n\n" in text else 0
