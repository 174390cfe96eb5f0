"""Reads HTML: a line per block, without scripts and navigation."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from gptoss_mlx.library.readers.encoding import decode
from gptoss_mlx.library.readers.source import Source, missing, one_line, read_all
from gptoss_mlx.library.text import Heading, Text

__all__ = ["Blocks", "parse_html", "read_html"]

# libxml2's tree takes about ten times as much memory.
_MAX_BYTES = 32 << 20

# Where HTML states its encoding (https://html.spec.whatwg.org, section 13.2.3.2).
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_CHARSET_BYTES = 1024

_LEFT_OUT = {
    "audio", "button", "canvas", "datalist", "dialog", "embed", "head", "iframe", "math",
    "nav", "noscript", "object", "rp", "rt", "script", "select", "style", "svg", "template",
    "video",
}  # fmt: skip
_BLOCKS = {
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd",
    "details", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form",
    "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup", "hr", "html", "legend",
    "li", "main", "menu", "ol", "p", "pre", "section", "summary", "table", "tbody",
    "tfoot", "thead", "tr", "ul",
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
    """

    title: str = ""
    lines: list[str] = field(default_factory=list)
    headings: list[Heading] = field(default_factory=list)


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
    return Text(title, tuple(page.lines), tuple(page.headings))


def parse_html(content: bytes, source: Source, *, declared: str | None = None) -> Blocks:
    """Parse HTML, however broken.

    Args:
        content: The page.
        source: The document that it is part of.
        declared: Its character set, as an e-mail states it.

    Raises:
        UnreadableDocumentError: lxml is not installed.
    """
    try:
        from lxml import etree
    except ImportError as error:
        raise missing(source, "lxml") from error

    stated = _CHARSET.search(content[:_CHARSET_BYTES])
    declared = declared or (stated and stated[1].decode("ascii", "ignore")) or None
    text = decode(content, declared).replace("\0", "")
    blocks = Blocks()
    if not text.strip():
        return blocks
    # The size is limited above, and lxml expands no entities of a DTD in HTML.
    parser = etree.HTMLParser(
        encoding="utf-8",
        no_network=True,
        remove_comments=True,
        remove_pis=True,
        huge_tree=True,
    )
    root = etree.fromstring(text.encode("utf-8", errors="replace"), parser)
    if root is None:  # it has only comments
        return blocks
    title = root.find(".//head/title")
    blocks.title = one_line("".join(title.itertext())) if title is not None else ""
    _Walk(blocks).run(root)
    return blocks


class _Walk:
    """Walks through a tree and collects the text of its blocks."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._text: list[str] = []
        self._pre = 0  # how many <pre> are open
        self._row: Any = None  # the <tr> whose cells share a line
        self._cells = 0

    def run(self, root: Any) -> None:
        from lxml import etree

        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            left_out = _is_left_out(element)
            if event == "start":
                if left_out:
                    walk.skip_subtree()
                else:
                    self._start(element)
            else:
                if not left_out:
                    self._end(element)
                self._add(element.tail)
        self._flush()

    def _start(self, element: Any) -> None:
        tag = element.tag
        if tag == "br":
            self._text.append("\n")
        elif tag == "pre":
            self._flush()
            self._pre += 1
        elif tag == "tr" and self._row is None:
            self._flush()
            self._cells = 0
            self._row = element if _is_row_of_values(element) else None
        elif tag in ("td", "th") and self._row is not None:
            if self._cells:
                self._text.append(" | ")
            self._cells += 1
        elif tag in _BLOCKS or tag in ("td", "th"):
            self._flush()
        self._add(element.text)

    def _end(self, element: Any) -> None:
        tag = element.tag
        if element is self._row:
            self._row = None
            self._flush(one=True)
        elif tag in _LEVELS:
            self._flush(level=_LEVELS[tag], one=True)
        elif tag == "pre":
            self._flush()
            self._pre -= 1
        elif tag in _BLOCKS or tag in ("td", "th"):
            self._flush()

    def _add(self, text: str | None) -> None:
        if text:
            self._text.append(text if self._pre else re.sub(r"[\r\n]", " ", text))

    def _flush(self, *, level: int = 0, one: bool = False) -> None:
        """End a block.

        Args:
            level: If it is a heading.
            one: Whether it is one line, whatever breaks it has.
        """
        if self._row is not None:
            self._text.append(" ")
            return
        text = "".join(self._text)
        self._text.clear()
        if one:
            lines = [one_line(text)]
        elif self._pre:
            lines = [line.rstrip() for line in re.split(r"\r\n|\r|\n", text)]
        else:
            lines = [one_line(line) for line in text.split("\n")]
        lines = [line for line in lines if line]
        if level and lines:
            self._blocks.headings.append(Heading(len(self._blocks.lines), level, lines[0]))
        self._blocks.lines += lines


def _is_row_of_values(row: Any) -> bool:
    length = 0
    for element in row.iter("table", "pre", *_LEVELS):
        if element.tag:
            return False
    for text in row.itertext():
        length += len(text)
        if length > _MAX_ROW_CHARACTERS:
            return False
    return True


def _is_left_out(element: Any) -> bool:
    return (
        element.tag in _LEFT_OUT
        or "hidden" in element.attrib
        or element.get("role") == "navigation"
    )
