"""The text of a document, as every reader returns it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Heading", "Link", "Text"]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a document.

    Attributes:
        line: Index of its line, from 0.
        level: From 1, the highest, to 6.
        text: Its words, without markup.
    """

    line: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A link in a line of a document.

    Attributes:
        line: Index of its line, from 0.
        start: The column at which it begins, from 0, with its markup if the line has any.
        end: The column after its last character.
        target: As the document has it: a relative path, a URL or ``#fragment``.
        text: The words that stand for the link, if those columns hold markup too; empty if
            they are the columns' own characters.
    """

    line: int
    start: int
    end: int
    target: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A document's text.

    Attributes:
        title: Its title; the file's name if it has none.
        lines: Its lines, without line ends: those of the file if it is a text, or one per
            paragraph, table row or line of a page otherwise.
        headings: In order of their lines.
        pages: Index of the first line of each page; empty if it has no pages.
        links: In order of their places.
    """

    title: str
    lines: Sequence[str]
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    links: tuple[Link, ...] = ()

    def page_of(self, line: int) -> int | None:
        """Return the number of a line's page, from 1, or None if there are no pages."""
        return bisect_right(self.pages, line) or None

    def headings_of(self, line: int) -> tuple[str, ...]:
        """Return the headings that a line stands under, highest level first."""
        path: list[Heading] = []
        for heading in self.headings:
            if heading.line > line:
                break
            while path and path[-1].level >= heading.level:
                path.pop()
            path.append(heading)
        return tuple(heading.text for heading in path)
