"""What one turn puts on the terminal: lines that stay, and below them some that change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Self

from rich.console import (
    Console,
    ConsoleOptions,
    Group,
    RenderableType,
    RenderResult,
)
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

__all__ = ["Screen"]

REFRESH_S = 0.1
# Of the time, a fifth at most goes into showing what comes.
REST_PER_DRAW = 4


class Screen:
    """Prints for good, and shows something under it until the next thing comes.

    What is printed is parted by blank lines, but for notes, which stand together. On a
    terminal that cannot move its cursor, and in a file, only what is printed appears.

    Attributes:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._below: RenderableType | None = None
        self._below_is_note = False
        self._last: bool | None = None  # Whether a note was printed last; None: nothing.
        self._refreshed = 0.0
        self._rest_s = REFRESH_S
        self._live = Live(
            _Tail(self._changing),
            console=console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="visible",
        )

    def __enter__(self) -> Self:
        """Begin. The cursor is hidden."""
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Take away what was not printed for good."""
        self._below = None
        self._live.stop()

    def due(self) -> bool:
        """Tell whether it is time to show something new: at most ten times a second."""
        return time.monotonic() - self._refreshed >= self._rest_s

    def rest_after(self, begun: float) -> None:
        """Be not due for a while, after work on what is shown that began at ``begun``."""
        self._refreshed = time.monotonic()
        spent = self._refreshed - begun
        self._rest_s = max(REFRESH_S, REST_PER_DRAW * spent)

    def show(self, below: RenderableType | None) -> None:
        """Show this under what was printed, in place of what was there."""
        self._below, self._below_is_note = below, False
        self._refresh()

    def show_note(self, text: str) -> None:
        """Show a dim line under what was printed, if it is due."""
        if self.due():
            self._below, self._below_is_note = _note(text, "dim"), True
            self._refresh()

    def print(self, renderable: RenderableType, *, below: RenderableType | None) -> None:
        """Print for good, and show ``below`` under it."""
        self._print(renderable, below, note=False)

    def note(self, text: str, *, style: str = "dim", cut: bool = False) -> None:
        """Print a note for good.

        Args:
            text: One line, in words.
            style: Dim, or a colour for what needs to be seen.
            cut: Leave out what is over the width. Else it is wrapped.
        """
        line = _note(text, style) if cut else Text(text, style=style)
        self._print(line, None, note=True)

    def _print(
        self, renderable: RenderableType, below: RenderableType | None, *, note: bool
    ) -> None:
        parted = self._is_parted(note)
        self._below, self._below_is_note, self._last = below, note, note
        # In one go with what is below, so that nothing flickers.
        # Not cropped: a line of code may be longer than the screen is wide.
        self.console.print(Group(*([Text()] if parted else []), renderable), crop=False)

    def _is_parted(self, note: bool) -> bool:
        return self._last is not None and not (note and self._last)

    def _refresh(self) -> None:
        begun = time.monotonic()
        self._live.refresh()
        self.rest_after(begun)

    def _changing(self) -> list[RenderableType]:
        if self._below is None:
            return []
        parted = [Text()] if self._is_parted(self._below_is_note) else []
        return [*parted, self._below]


class _Tail:
    """The last lines, as many as fit on the screen, of what there is when it is shown."""

    def __init__(self, renderables: Callable[[], list[RenderableType]]) -> None:
        self._renderables = renderables

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        options = options.update(height=None)
        lines = [
            part
            for renderable in self._renderables()
            for line in Segment.split_lines(console.render(renderable, options))
            for part in _folded(line, options.max_width)
        ]
        # The cursor must stay on the screen, or it could not go back up.
        for line in lines[-max(console.height - 1, 1) :]:
            yield from line
            yield Segment.line()


def _folded(line: list[Segment], width: int) -> Iterable[list[Segment]]:
    """Wrap a line as a terminal does, so that it is known how many it takes."""
    line = [part._replace(text=part.text.expandtabs(8)) for part in line]
    length = Segment.get_line_length(line)
    return Segment.divide(line, range(width, length + width, width)) if length else [[]]


def _note(text: str, style: str) -> Text:
    return Text(" ".join(text.split()), style=style, no_wrap=True, overflow="ellipsis")
