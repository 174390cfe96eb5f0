"""A page as shown to the model: text in numbered lines of 80 columns, which it cites.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/simple_browser/page_contents.py
"""

from __future__ import annotations

import textwrap
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from gptoss_mlx.controls import escaped, without_controls

__all__ = [
    "WIDTH",
    "Origin",
    "Page",
    "SourceLine",
    "in_a_line",
    "plain",
    "plain_line",
    "wrap",
]

WIDTH = 80
"""Columns of a display line."""

_MARKS = str.maketrans({"【": "〖", "】": "〗", "\u200b": None})


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of a page's text.

    Attributes:
        number: Counted from 1, as by ``Page.source_line``.
    """

    number: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The lines of a page that a line of another page shows.

    Attributes:
        url: URL of the page that the lines are from.
        first: First line of that page's text, counted from 1.
        last: Last line.
    """

    url: str
    first: int
    last: int


@dataclass(frozen=True)
class Page:
    """A text with links.

    Attributes:
        url: Its URL. Search results have none.
        title: Its title.
        text: Its lines. A link is ``【id†text】`` or ``【id†text†domain】``; the brackets
            are used for nothing else: see ``plain``.
        links: The URLs of its links, by id.
        passages: For results: the display line at which each link opens its page, or the
            line of that page's text; None for the first. Other pages have None in place of
            the tuple.
        origins: For results: what each line of ``text`` shows of another page; None for a
            line that shows nothing of one. Other pages have None in place of the tuple.
    """

    url: str
    title: str
    text: str
    links: tuple[str, ...] = ()
    passages: tuple[int | SourceLine | None, ...] | None = None
    origins: tuple[Origin | None, ...] | None = None

    @property
    def is_results(self) -> bool:
        """Whether it lists the results of a search or a find."""
        return self.passages is not None

    @property
    def lines(self) -> list[str]:
        """The display lines, which are counted from 0."""
        return self._wrapped[0]

    def source_line(self, display_line: int) -> int:
        """Return the line of ``text`` that a display line is part of, counted from 1.

        Raises:
            IndexError: There is no such display line.
        """
        if not 0 <= display_line < len(self.lines):
            raise IndexError(f"there is no display line {display_line}")
        return bisect_right(self._wrapped[1], display_line)

    def display_line(self, source_line: int) -> int:
        """Return the display line on which a line of ``text`` begins.

        Args:
            source_line: Counted from 1.

        Raises:
            IndexError: There is no such line.
        """
        if not 1 <= source_line <= len(self._wrapped[1]):
            raise IndexError(f"there is no line {source_line}")
        return self._wrapped[1][source_line - 1]

    @cached_property
    def _wrapped(self) -> tuple[list[str], list[int]]:
        """The display lines, and the display line at which each line of ``text`` begins."""
        lines: list[str] = []
        begins = []
        for line in self.text.split("\n"):
            begins.append(len(lines))
            if len(line) <= WIDTH and "\t" not in line:
                lines.append(line)
            else:
                lines += wrap(line)
        return lines, begins


def wrap(line: str) -> Iterator[str]:
    """Cut a line like ``textwrap.wrap`` with all white space kept.

    ``textwrap`` itself takes minutes for a word of a few million characters, for example
    a text without spaces.
    """
    line = line.expandtabs()
    begin = end = 0
    wrapper = textwrap.TextWrapper
    # Without a hyphen both cut alike, and the simple one takes a third of the time.
    cut_words = wrapper.wordsep_re if "-" in line else wrapper.wordsep_simple_re
    for word in cut_words.split(line):
        start, end = end, end + len(word)
        if begin < start and end - begin > WIDTH >= len(word):
            yield line[begin:start]
            begin = start
        while end - begin > WIDTH:
            start = max(begin, start)
            cut = begin + WIDTH
            hyphen = line.rfind("-", start, cut)
            if line[start : max(hyphen, start)].strip("-"):
                cut = hyphen + 1
            yield line[begin:cut]
            begin = cut
    if begin < end or not line:
        yield line[begin:]


def plain(text: str) -> str:
    """Replace characters that would look like a link in a page."""
    return text.translate(_MARKS)


def plain_line(text: str) -> str:
    """Make a document's line harmless: one line, without a control or a link's brackets."""
    if text.isascii() and text.isprintable():
        return text  # at once, as a document may have millions of lines
    return " ".join(without_controls(plain(text)).split("\n"))


def in_a_line(text: str) -> str:
    """Make one line of a title or a URL, without anything that looks like a link."""
    return escaped(plain(" ".join(text.splitlines())))
