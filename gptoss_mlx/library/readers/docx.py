"""Reads DOCX: a line per paragraph and table row, with headings and notes.

python-docx opens the package and knows its styles. Its own text of a paragraph leaves out
content controls, tracked insertions, text boxes and notes, so the text is taken from the
elements.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gptoss_mlx.library.readers.archive import Archive
from gptoss_mlx.library.readers.linked_line import (
    LinkedLine,
    Span,
    can_be_followed,
    collapsed,
    joined,
    links_of,
)
from gptoss_mlx.library.readers.source import Source, one_line
from gptoss_mlx.library.text import Heading, Text

__all__ = ["read_docx"]

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_P, _ROW, _CELL, _LINK = f"{_W}p", f"{_W}tr", f"{_W}tc", f"{_W}hyperlink"
# What the elements of a text stand for; "" is their own text.
_CHARACTERS = {
    f"{_W}t": "",
    f"{_W}tab": " ",
    f"{_W}br": " ",
    f"{_W}cr": " ",
    f"{_W}noBreakHyphen": "-",
}
# The second copy of a text box, and text that was moved elsewhere.
_LEFT_OUT = (
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    f"{_W}moveFrom",
)
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)
_MAX_STYLES_DEEP = 20
_MAX_XML_BYTES = 64 << 20


def read_docx(source: Source) -> Text:
    """Read a DOCX.

    Raises:
        UnreadableDocumentError: It is damaged, encrypted or too large.
    """
    # Imported here: it takes 0.2 s, and most documents are of another kind.
    import docx

    document = docx.Document(_copy(source))
    levels = _levels(document)
    lines: list[LinkedLine] = []
    headings: list[Heading] = []
    parts = [(document.element.body, document.part), *_notes(document)]
    for root, part in parts:
        for line, level in _Blocks(levels, _targets(part)).read(root):
            if level:
                headings.append(Heading(len(lines), level, line.text))
            lines.append(line)
    title = one_line(document.core_properties.title or "")
    if not title:
        title = next((heading.text for heading in headings if heading.level == 1), "")
    return Text(
        title or source.path.name,
        tuple(line.text for line in lines),
        tuple(headings),
        links=tuple(links_of(lines)),
    )


def _copy(source: Source) -> io.BytesIO:
    """Copy the XML of the package within limits, which python-docx does not have."""
    copy = io.BytesIO()
    nbytes = 0
    with Archive(source) as archive, zipfile.ZipFile(copy, "w") as written:
        if "[Content_Types].xml" not in archive:
            raise source.unreadable("is damaged: it has no [Content_Types].xml")
        for name in archive.names():
            is_xml = name.endswith((".xml", ".rels"))
            content = archive.read(name) if is_xml else b""  # no pictures
            nbytes += len(content)
            if nbytes > _MAX_XML_BYTES:
                raise source.unreadable(f"over {_MAX_XML_BYTES >> 20} MB of text")
            written.writestr(name, content)
    copy.seek(0)
    return copy


def _levels(document: Any) -> dict[str, int]:
    """Return the level of each heading style, by its id."""
    names: dict[str, str] = {}
    bases: dict[str, str] = {}
    # python-docx looks each base up among all styles, which is quadratic.
    for style in document.styles.element.iterchildren(f"{_W}style"):
        key = style.get(f"{_W}styleId") or ""
        for child in style.iterchildren(f"{_W}name", f"{_W}basedOn"):
            kind = names if child.tag == f"{_W}name" else bases
            kind[key] = child.get(f"{_W}val") or ""
    return {key: level for key in names if (level := _style_level(key, names, bases))}


def _style_level(key: str, names: dict[str, str], bases: dict[str, str]) -> int:
    for _ in range(_MAX_STYLES_DEEP):
        name = names.get(key, "")
        if found := _HEADING.fullmatch(name):
            return min(int(found[1]), 6)
        if name.lower() == "title":
            return 1
        if key not in bases:
            break
        key = bases[key]
    return 0


def _notes(document: Any) -> Iterator[tuple[Any, Any]]:
    """Parse the footnotes and endnotes, and return each with its part."""
    from docx.oxml import parse_xml

    for relation in document.part.rels.values():
        kind = relation.reltype.rpartition("/")[2]
        if kind in ("footnotes", "endnotes") and not relation.is_external:
            yield parse_xml(relation.target_part.blob), relation.target_part


def _targets(part: Any) -> dict[str, str]:
    """Return where the links of a part lead out of the document, by their ids."""
    return {
        key: relation.target_ref
        for key, relation in part.rels.items()
        if relation.is_external and can_be_followed(relation.target_ref)
    }


@dataclass(slots=True)
class _Paragraph:
    """A paragraph that is open.

    Attributes:
        pieces: Its text.
        length: How many characters that has.
        spans: The links in it.
        starts: Where the links begin that are open, and where they lead.
    """

    pieces: list[str] = field(default_factory=list)
    length: int = 0
    spans: list[Span] = field(default_factory=list)
    starts: list[tuple[int, str]] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add text."""
        self.pieces.append(text)
        self.length += len(text)

    def end_link(self) -> None:
        """End the link that was opened last."""
        if self.starts:
            start, target = self.starts.pop()
            if target and start < self.length and not self.starts:
                self.spans.append(Span(start, self.length, target))


class _Blocks:
    """Reads the paragraphs and table rows of a part."""

    def __init__(self, levels: dict[str, int], targets: dict[str, str]) -> None:
        self._levels = levels
        self._targets = targets
        self._paragraphs: list[_Paragraph] = []  # open: a text box is within another
        self._cells: list[list[LinkedLine]] = []
        self._rows = 0  # how many are open

    def read(self, root: Any) -> Iterator[tuple[LinkedLine, int]]:
        """Yield the text of each, and its level if it is a heading."""
        from lxml import etree

        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            if element.tag in _LEFT_OUT:
                walk.skip_subtree()
            elif event == "start":
                self._start(element)
            elif element.tag == _LINK and self._paragraphs:
                self._paragraphs[-1].end_link()
            elif element.tag == _P:
                paragraph = self._paragraphs.pop()
                line = collapsed("".join(paragraph.pieces), paragraph.spans)
                if line.text and self._rows and self._cells:
                    self._cells[-1].append(line)
                elif line.text:
                    yield line, _level(element, self._levels)
            elif element.tag == _ROW:
                self._rows -= 1
                if not self._rows:
                    if any(self._cells):
                        yield joined([joined(cell, " ") for cell in self._cells], " | "), 0
                    self._cells = []

    def _start(self, element: Any) -> None:
        tag = element.tag
        self._rows += tag == _ROW
        if tag == _P:
            self._paragraphs.append(_Paragraph())
        elif tag == _CELL and self._rows == 1:
            self._cells.append([])
        elif self._paragraphs and tag == _LINK:
            target = self._targets.get(element.get(f"{_R}id") or "", "")
            self._paragraphs[-1].starts.append((self._paragraphs[-1].length, target))
        elif self._paragraphs and tag in _CHARACTERS:
            self._paragraphs[-1].add(_CHARACTERS[tag] or element.text or "")


def _level(paragraph: Any, levels: dict[str, int]) -> int:
    properties = paragraph.find(f"{_W}pPr")
    if properties is None:
        return 0
    outline = properties.find(f"{_W}outlineLvl")
    value = "" if outline is None else outline.get(f"{_W}val") or ""
    if value in "012345678" and value:
        return min(int(value) + 1, 6)
    style = properties.find(f"{_W}pStyle")
    return 0 if style is None else levels.get(style.get(f"{_W}val") or "", 0)
