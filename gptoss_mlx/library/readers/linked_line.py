"""A line of text with the places of its links, while a reader puts it together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from gptoss_mlx.library.readers.source import one_line
from gptoss_mlx.library.text import Link

__all__ = [
    "MAX_LINKS",
    "LinkedLine",
    "Span",
    "can_be_followed",
    "collapsed",
    "joined",
    "links_of",
]

MAX_LINKS = 50_000
"""The most of one document: each takes memory, and a page can consist of links."""

_MAX_TARGET_CHARACTERS = 2_000
_NOT_FOLLOWED = ("data:", "javascript:", "mailto:", "sms:", "tel:", "vbscript:")


class Span(NamedTuple):
    """A link within a line.

    Attributes:
        start: Its first column, from 0.
        end: The column after its last.
        target: Where it leads.
    """

    start: int
    end: int
    target: str


class LinkedLine(NamedTuple):
    """A line and its links, in order."""

    text: str
    spans: tuple[Span, ...] = ()


def can_be_followed(target: str) -> bool:
    """Whether a link leads to a document or a place in one."""
    return 0 < len(target) <= _MAX_TARGET_CHARACTERS and not target.lower().startswith(
        _NOT_FOLLOWED
    )


def collapsed(text: str, spans: Sequence[Span]) -> LinkedLine:
    """Replace each run of white space by one space, and strip both ends.

    Args:
        text: The line.
        spans: In order, and none within another. Those of white space are left out.
    """
    if not spans:
        return LinkedLine(one_line(text))
    pieces: list[str] = []
    found: list[Span] = []
    column = done = 0
    gap = False
    bounds = [bound for span in spans for bound in ((span.start, ""), span[1:])]
    for place, target in [*bounds, (len(text), "")]:
        piece = text[done:place]
        done = place
        words = one_line(piece)
        if not words:
            gap = gap or bool(piece)
            continue
        if column and (gap or piece[0].isspace()):
            pieces.append(" ")
            column += 1
        pieces.append(words)
        if target:
            found.append(Span(column, column + len(words), target))
        column += len(words)
        gap = piece[-1].isspace()
    return LinkedLine("".join(pieces), tuple(found))


def joined(lines: Iterable[LinkedLine], separator: str) -> LinkedLine:
    """Make one line of several."""
    pieces: list[str] = []
    spans: list[Span] = []
    column = 0
    for text, own in lines:
        pieces.append(text)
        spans += [Span(column + start, column + end, target) for start, end, target in own]
        column += len(text) + len(separator)
    return LinkedLine(separator.join(pieces), tuple(spans))


def links_of(lines: Iterable[LinkedLine]) -> list[Link]:
    """Return the links of a document, at most ``MAX_LINKS``."""
    links = (Link(index, *span) for index, line in enumerate(lines) for span in line.spans)
    return list(islice(links, MAX_LINKS))
