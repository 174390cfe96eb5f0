"""Cuts a document into passages, the unit that a search finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from gptoss_mlx.library.text import Text

__all__ = ["MAX_WORDS", "MIN_WORDS", "Passage", "passages"]

MIN_WORDS = 200
MAX_WORDS = 400

_CJK = re.compile("[\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Passage:
    """Consecutive lines of a document.

    Attributes:
        first_line: Index of its first line, from 0.
        last_line: Index of its last line.
        headings: What it stands under, highest level first.
        page: Of its first line, from 1; None without pages.
        text: Its lines.
    """

    first_line: int
    last_line: int
    headings: tuple[str, ...]
    page: int | None
    text: str


def passages(text: Text) -> Iterator[Passage]:
    """Cut a text into passages of 200 to 400 words, where a section or paragraph ends.

    A passage is shorter if the text ends, and longer only if a single line is.
    """
    headings = _HeadingPaths(text)
    first = 0
    while first < len(text.lines):
        if not text.lines[first].strip():
            first += 1
            continue
        end = _end(text, first, headings.lines)
        last = end - 1
        while not text.lines[last].strip():
            last -= 1
        yield Passage(
            first,
            last,
            headings.at(first),
            text.page_of(first),
            "\n".join(text.lines[first : last + 1]),
        )
        first = end


def _end(text: Text, first: int, headings: dict[int, int]) -> int:
    # Return the best line to cut at: of those in reach, the one that most separates.
    words = 0.0
    best = 0
    best_rank = -1.0
    for line in range(first, len(text.lines)):
        if line > first and words >= MIN_WORDS / 2:
            rank = _rank(text, line, headings, words)
            if rank >= best_rank:
                best, best_rank = line, rank
        words += _word_count(text.lines[line])
        if words > MAX_WORDS:
            return best or line + 1
    return len(text.lines) if words <= MAX_WORDS else best


def _rank(text: Text, line: int, headings: dict[int, int], words: float) -> float:
    # 0 within a paragraph, more between blocks, most before a heading.
    if line in headings:
        rank = 8.0 - headings[line]
    elif not text.lines[line - 1].strip() and text.lines[line].strip():
        indent = len(text.lines[line]) - len(text.lines[line].lstrip())
        rank = 1.0 + 1 / (1 + indent)
    else:
        return 0.0
    return rank if words >= MIN_WORDS else rank / 2 - 0.5


def _word_count(line: str) -> float:
    if line.isascii():
        return len(line.split())
    # A word of Japanese or Chinese is about two characters long.
    cjk = len(_CJK.findall(line))
    return cjk / 2 + len(_CJK.sub(" ", line).split())


class _HeadingPaths:
    # For lines in ascending order; Text.headings_of would walk from the start for each.
    def __init__(self, text: Text) -> None:
        self.lines = {heading.line: heading.level for heading in text.headings}
        self._headings = text.headings
        self._next = 0
        self._path: list[tuple[int, str]] = []

    def at(self, line: int) -> tuple[str, ...]:
        """Return the headings that ``line`` stands under."""
        while self._next < len(self._headings):
            heading = self._headings[self._next]
            if heading.line > line:
                break
            while self._path and self._path[-1][0] >= heading.level:
                self._path.pop()
            self._path.append((heading.level, heading.text))
            self._next += 1
        return tuple(text for _, text in self._path)
