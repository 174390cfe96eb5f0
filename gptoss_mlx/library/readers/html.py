"""Reads HTML: a line per block, without scripts and navigation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gptoss_mlx.library.readers.encoding import decode
from gptoss_mlx.library.readers.linked_line import (
    LinkedLine,
    Span,
    can_be_followed,
    collapsed,
    joined,
    links_of,
)
from gptoss_mlx.library.readers.source import Source, one_line, read_all
from gptoss_mlx.library.text import Heading, Link, Text

__all__ = ["Blocks", "parse_html", "read_html"]

# A dense page takes 30 times as much memory as lines.
_MAX_BYTES = 32 << 20
_CHUNK_BYTES = 1 << 16

# Where HTML states its encoding (https://html.spec.whatwg.org, section 13.2.3.2).
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_CHARSET_BYTES = 1024

_LEFT_OUT = {
    "audio", "button", "canvas", "datalist", "dialog", "iframe", "math",
    "nav", "noscript", "object", "rp", "rt", "script", "select", "style", "svg", "template",
    "video",
}  # fmt: skip
# They have no end, so that nothing is within them.
_VOID = {
    "area", "base", "col", "embed", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
}  # fmt: skip
# The sign that many programs put behind a heading, as a link to it.
_ANCHORS = {"anchor-link", "hash-link", "header-anchor", "headerlink"}
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd",
    "details", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form",
    "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html", "legend",
    "li", "main", "menu", "ol", "p", "pre", "section", "summary", "table", "tbody",
    "td", "tfoot", "th", "thead", "title", "tr", "ul",
}  # fmt: skip
_LEVELS = {f"h{level}": level for level in range(1, 7)}

# A row with more is a page's layout, not a table of values.
_MAX_ROW_CHARACTERS = 2_000


@dataclass(slots=True)
class Blocks:
    """The text of one page of HTML.

    Attributes:
        title: Of its ``<title>``; empty without one.
        lines: One per block.
        headings: In order of their lines.
        links: In order of their places.
    """

    title: str = ""
    lines: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


def read_html(source: Source) -> Text:
    """Read a page of HTML.

    Raises:
        UnreadableDocumentError: It is binary or too large, or lxml is not installed.
    """
    content = read_all(source, max_bytes=_MAX_BYTES)
    if b"\0" in content and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise source.unreadable("a binary file")
    page = parse_html(content, source)
    first = next((heading.text for heading in page.headings if heading.level == 1), "")
    title = page.title or first or source.path.name
    return Text(title, tuple(page.lines), tuple(page.headings), links=tuple(page.links))


def parse_html(content: bytes, source: Source, *, declared: str | None = None) -> Blocks:
    """Parse HTML, however broken.

    Args:
        content: The page.
        source: The document that it is part of.
        declared: Its character set, as an e-mail states it.
    """
    from lxml import etree

    stated = _CHARSET.search(content[:_CHARSET_BYTES])
    declared = declared or (stated and stated[1].decode("ascii", "ignore")) or None
    text = decode(content, declared).replace("\0", "")
    blocks = Blocks()
    if not text.strip():
        return blocks
    # With a target it builds no tree, which would take 50 times the memory of the page, and
    # quadratic time for a tag of many attributes.
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, huge_tree=True, target=_Collector(blocks)
    )
    content = text.encode("utf-8", errors="replace")
    for start in range(0, len(content), _CHUNK_BYTES):
        parser.feed(content[start : start + _CHUNK_BYTES])
    parser.close()
    return blocks


@dataclass(slots=True)
class _Row:
    """A row of a table that is open.

    Attributes:
        start: Index of its first line.
        headings: How many there were before it.
        cells: Index of the first line of each cell.
        is_plain: Whether it has neither rows nor preformatted text in it.
    """

    start: int
    headings: int
    cells: list[int] = field(default_factory=list)
    is_plain: bool = True


class _Collector:
    """Collects the text of blocks from the events of a parser."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._lines: list[LinkedLine] = []
        self._text: list[str] = []  # of the block that is open
        self._length = 0  # of that text
        self._spans: list[Span] = []  # the links in it
        self._target = ""  # of the link that is open
        self._link_start = 0
        self._left_out = 0  # how many elements are open from the one that is left out on
        self._pre = 0  # how many <pre> are open
        self._rows: list[_Row] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Begin an element."""
        if tag in _VOID:
            return
        if self._left_out:
            self._left_out += 1
        elif (
            tag in _LEFT_OUT
            or "hidden" in attributes
            or attributes.get("role") == "navigation"
            or (tag == "a" and not _ANCHORS.isdisjoint(_classes(attributes)))
        ):
            self._left_out = 1
        elif tag == "br":
            self._add("\n")
        elif tag == "a":
            self._end_link()
            target = (attributes.get("href") or "").strip()
            if can_be_followed(target):
                self._target, self._link_start = target, self._length
        elif tag in _BLOCKS:
            self._flush()
            self._start_block(tag)

    def _start_block(self, tag: str) -> None:
        row = self._rows[-1] if self._rows else None
        if tag == "pre":
            self._pre += 1
        if row and tag in ("td", "th"):
            row.cells.append(len(self._lines))
        if row and tag in ("pre", "tr"):
            row.is_plain = False
        if tag == "tr":
            self._rows.append(_Row(len(self._lines), len(self._blocks.headings)))

    def data(self, text: str) -> None:
        """Take text."""
        if not self._left_out:
            self._add(text if self._pre else re.sub(r"[\r\n]", " ", text))

    def _add(self, text: str) -> None:
        self._text.append(text)
        self._length += len(text)

    def end(self, tag: str) -> None:
        """End an element."""
        if tag in _VOID:
            return
        if self._left_out:
            self._left_out -= 1
        elif tag == "a":
            self._end_link()
        elif tag == "title":
            self._blocks.title = self._blocks.title or one_line("".join(self._text))
            self._take()
        elif tag in _BLOCKS:
            self._flush(level=_LEVELS.get(tag, 0))
            if tag == "pre":
                self._pre = max(0, self._pre - 1)
            elif tag == "tr" and self._rows:
                self._end_row(self._rows.pop())

    def close(self) -> None:
        """End the page."""
        self._flush()
        self._blocks.lines = [line.text for line in self._lines]
        self._blocks.links = links_of(self._lines)

    def _end_link(self) -> None:
        if self._target and self._length > self._link_start:
            self._spans.append(Span(self._link_start, self._length, self._target))
        self._target = ""

    def _take(self) -> tuple[str, list[Span]]:
        """Return the text of the block that is open and its links, and begin another."""
        target = self._target  # it goes on in the next block
        self._end_link()
        text, spans = "".join(self._text), self._spans
        self._text, self._spans, self._length = [], [], 0
        self._target, self._link_start = target, 0
        return text, spans

    def _flush(self, *, level: int = 0) -> None:
        """End a block, which is a heading if it has a level."""
        text, spans = self._take()
        if level:
            lines = [collapsed(text, spans)]
        elif self._pre:
            # Of the same length, so that the links keep their places.
            text = text.replace("\r\n", " \n").replace("\r", "\n")
            lines = [_stripped(line, own) for line, own in _cut(text, spans)]
        else:
            lines = [collapsed(line, own) for line, own in _cut(text, spans)]
        lines = [line for line in lines if line.text]
        if level and lines:
            self._blocks.headings.append(Heading(len(self._lines), level, lines[0].text))
        self._lines += lines

    def _end_row(self, row: _Row) -> None:
        """Join the lines of a row, unless it is a page's layout."""
        lines = self._lines
        if not row.is_plain or len(self._blocks.headings) > row.headings:
            return
        # What stands in no cell is part of the first.
        starts = [row.start, *row.cells[1:]]
        ends = [*row.cells[1:], len(lines)]
        cells = [
            joined(lines[start:end], " ") for start, end in zip(starts, ends, strict=True)
        ]
        found = joined(cells, " | ")
        if found.text.strip(" |") and len(found.text) <= _MAX_ROW_CHARACTERS:
            lines[row.start :] = [found]


def _classes(attributes: Mapping[str, str]) -> list[str]:
    return (attributes.get("class") or "").split()


def _stripped(line: str, spans: list[Span]) -> LinkedLine:
    """Strip the end of a line."""
    line = line.rstrip()
    own = (Span(start, min(end, len(line)), target) for start, end, target in spans)
    return LinkedLine(line, tuple(span for span in own if span.start < span.end))


def _cut(text: str, spans: list[Span]) -> Iterator[tuple[str, list[Span]]]:
    """Yield the lines of a text, each with the links in it."""
    if not spans:
        yield from ((line, []) for line in text.split("\n"))
        return
    start = first = 0
    for line in text.split("\n"):
        end = start + len(line)
        while first < len(spans) and spans[first].end <= start:
            first += 1
        own = []
        for span in spans[first:]:
            if span.start >= end:
                break
            own.append(
                Span(max(span.start - start, 0), min(span.end, end) - start, span.target)
            )
        yield line, own
        start = end + 1
