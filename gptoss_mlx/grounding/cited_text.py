"""Replaces the markers in an answer by numbers, while it is written."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace

from gptoss_mlx.conversation.answer import audience
from gptoss_mlx.conversation.turn_events import ToolResult, TurnEvent
from gptoss_mlx.grounding.citations import CitationChecker
from gptoss_mlx.grounding.markers import Marker, find_marker, possible_marker
from gptoss_mlx.grounding.quotations import HIDDEN
from gptoss_mlx.grounding.scope import scope_of
from gptoss_mlx.grounding.typed_marks import is_in_fence, possible_mark, shown_typed
from gptoss_mlx.harmony.parse import Delta

__all__ = ["CitedText", "cited"]

_BETWEEN = re.compile(r"[ \t,;、]{0,3}")


class CitedText:
    """The text of one message, piece by piece.

    Markers in a row are checked together, with what their sentence quotes: they are held
    back up to its end, at most 600 characters.
    """

    def __init__(self, checker: CitationChecker) -> None:
        self._checker = checker
        self._text = ""  # as the model wrote it
        self._done = 0  # characters of it that were returned
        self._begin = 0  # where the text that the next citation belongs to begins

    def push(self, piece: str) -> str:
        """Take the next piece; return the text that can be shown."""
        self._text += piece
        return self._take(finished=False)

    def finish(self) -> str:
        """Return what was held back."""
        return self._take(finished=True)

    def _take(self, *, finished: bool) -> str:
        shown = ""
        while (row := self._next_row()) is not None:
            start, end = row[0].start, row[-1].end
            held = start if finished else possible_mark(self._text, self._done)
            shown += self._show(min(start, held))
            if held < start:
                return shown
            following = self._marker(end)
            scope = None
            if finished or not self._may_go_on(end):
                scope = scope_of(
                    self._without_markers(),
                    self._begin,
                    (start, end),
                    None if following is None else following.start,
                    finished=finished,
                )
            if scope is None:
                return shown
            citations = self._checker.check(row, scope.quotations)
            for marker, found in zip(row, citations, strict=True):
                shown += self._show(marker.start)
                shown += "".join(dict.fromkeys(citation.mark for citation in found))
                self._done = marker.end
            self._begin = scope.end
        end = len(self._text)
        if not finished:
            end = possible_marker(self._text, self._done)
            end = min(end, possible_mark(self._text, self._done))
        return shown + self._show(end)

    def _show(self, end: int) -> str:
        """Return the text up to an index as it is shown."""
        shown = shown_typed(self._text, self._done, end)
        self._done = end
        return shown

    def _without_markers(self) -> str:
        text, start = self._text, 0
        while (marker := self._marker(start)) is not None:
            start = marker.end
            text = text[: marker.start] + HIDDEN * (start - marker.start) + text[start:]
        return text

    def _next_row(self) -> list[Marker] | None:
        """Return the next markers in a row; None without one."""
        row: list[Marker] = []
        start = self._done
        while (marker := self._marker(start)) is not None:
            if row and not _BETWEEN.fullmatch(self._text, row[-1].end, marker.start):
                return row
            row.append(marker)
            start = marker.end
        return row or None

    def _may_go_on(self, end: int) -> bool:
        """Whether the next piece may have a marker of the row that ends here."""
        between = _BETWEEN.match(self._text, end)
        end = between.end() if between else end
        return end == len(self._text) or possible_marker(self._text, end) == end

    def _marker(self, start: int) -> Marker | None:
        marker = find_marker(self._text, start)
        while marker is not None and not self._is_citation(marker):
            marker = find_marker(self._text, marker.end)
        return marker

    def _is_citation(self, marker: Marker) -> bool:
        if not (marker.is_certain or self._checker.is_cursor(marker.cursor)):
            return False
        # What stands in a block of code is left as it is.
        return not is_in_fence(self._text, marker.start)


def cited(turn: Generator[TurnEvent], checker: CitationChecker) -> Generator[TurnEvent]:
    """Replace the markers in what a turn writes for the user.

    Args:
        turn: The turn's events. It is closed.
        checker: Checks the citations; it is told of each result.
    """
    text: CitedText | None = None
    last: Delta | None = None

    def rest() -> Iterator[Delta]:
        nonlocal text
        held = text.finish() if text is not None else ""
        text = None
        if held and last is not None:
            yield replace(last, text=held)

    with closing(turn):
        try:
            for event in turn:
                if not isinstance(event, Delta) or audience(event) != "user":
                    yield from rest()
                    if isinstance(event, ToolResult):
                        checker.note_result(shown=not event.refused)
                    yield event
                    continue
                place = event.channel, event.index
                if last is not None and place != (last.channel, last.index):
                    yield from rest()
                text, last = text or CitedText(checker), event
                if shown := text.push(event.text):
                    yield replace(event, text=shown)
        except Exception:
            yield from rest()
            raise
        yield from rest()
