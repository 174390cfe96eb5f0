"""Prints one turn on the terminal: permanent lines, and below them changing ones."""

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
# At most a fifth of the time goes into drawing.
REST_PER_DRAW = 4


class Screen:
    """Prints permanent lines, and shows changing ones under them.

    Blank lines separate what is printed, except notes, which stay together. In a file, and
    on a terminal that cannot move its cursor, only permanent lines appear.

    Attributes:
        console: The console to print on.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._below: RenderableType | None = None
        self._below_is_note = False
        self._last: bool | None = None  # whether a note was printed last; None: nothing
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
        """Begin, and hide the cursor."""
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove the changing lines."""
        self._below = None
        self._live.stop()

    def due(self) -> bool:
        """Whether it is time to draw again: at most ten times a second."""
        return time.monotonic() - self._refreshed >= self._rest_s

    def rest_after(self, begun: float) -> None:
        """Delay the next drawing in proportion to the time since ``begun``."""
        self._refreshed = time.monotonic()
        spent = self._refreshed - begun
        self._rest_s = max(REFRESH_S, REST_PER_DRAW * spent)

    def show(self, below: RenderableType | None) -> None:
        """Show a renderable under the printed lines, in place of the previous one."""
        self._below, self._below_is_note = below, False
        self._refresh()

    def show_note(self, text: str) -> None:
        """Show a dim line under the printed lines, if it is time."""
        if self.due():
            self._below, self._below_is_note = _note(text, "dim"), True
            self._refresh()

    def print(self, renderable: RenderableType, *, below: RenderableType | None) -> None:
        """Print permanently, and show ``below`` under it."""
        self._print(renderable, below, note=False)

    def note(self, text: str, *, style: str = "dim", cut: bool = False) -> None:
        """Print a permanent note.

        Args:
            text: One line of text.
            style: Dim, or a colour for important notes.
            cut: Whether to cut it at the width. Otherwise it is wrapped.
        """
        line = _note(text, style) if cut else Text(text, style=style)
        self._print(line, None, note=True)

    def _print(
        self, renderable: RenderableType, below: RenderableType | None, *, note: bool
    ) -> None:
        parted = self._is_parted(note)
        self._below, self._below_is_note, self._last = below, note, note
        # In one write with the changing lines, so that nothing flickers.
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
    """The last lines of the renderables, as many as fit on the screen."""

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
        # The cursor must stay on the screen, or it could not move back up.
        for line in lines[-max(console.height - 1, 1) :]:
            yield from line
            yield Segment.line()


def _folded(line: list[Segment], width: int) -> Iterable[list[Segment]]:
    """Wrap a line as a terminal does, to know how many lines it takes."""
    line = [part._replace(text=part.text.expandtabs(8)) for part in line]
    length = Segment.get_line_length(line)
    return Segment.divide(line, range(width, length + width, width)) if length else [[]]


def _note(text: str, style: str) -> Text:
    return Text(" ".join(text.split()), style=style, no_wrap=True, overflow="ellipsis")
