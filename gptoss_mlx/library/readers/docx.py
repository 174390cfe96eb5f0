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
from typing import Any

from gptoss_mlx.library.readers.archive import Archive
from gptoss_mlx.library.readers.source import Source, missing, one_line
from gptoss_mlx.library.text import Heading, Text

__all__ = ["read_docx"]

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_P, _ROW, _CELL = f"{_W}p", f"{_W}tr", f"{_W}tc"
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
        UnreadableDocumentError: It is damaged, encrypted or too large, or python-docx is
            not installed.
    """
    try:
        import docx
    except ImportError as error:
        raise missing(source, "python-docx") from error

    document = docx.Document(_copy(source))
    levels = _levels(document)
    lines: list[str] = []
    headings: list[Heading] = []
    for part in [document.element.body, *_notes(document)]:
        for text, level in _blocks(part, levels):
            if level:
                headings.append(Heading(len(lines), level, text))
            lines.append(text)
    title = one_line(document.core_properties.title or "")
    if not title:
        title = next((heading.text for heading in headings if heading.level == 1), "")
    return Text(title or source.path.name, tuple(lines), tuple(headings))


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


def _notes(document: Any) -> Iterator[Any]:
    """Parse the footnotes and endnotes."""
    from docx.oxml import parse_xml

    for relation in document.part.rels.values():
        kind = relation.reltype.rpartition("/")[2]
        if kind in ("footnotes", "endnotes") and not relation.is_external:
            yield parse_xml(relation.target_part.blob)


def _blocks(root: Any, levels: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the text of each paragraph and table row, and its level if it is a heading."""
    from lxml import etree

    paragraphs: list[list[str]] = []  # those that are open: a text box is within one
    cells: list[list[str]] = []
    rows = 0  # how many are open
    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = element.tag
        if tag in _LEFT_OUT:
            walk.skip_subtree()
        elif event == "start":
            rows += tag == _ROW
            if tag == _P:
                paragraphs.append([])
            elif tag == _CELL and rows == 1:
                cells.append([])
            elif paragraphs and tag in _CHARACTERS:
                paragraphs[-1].append(_CHARACTERS[tag] or element.text or "")
        elif tag == _P:
            text = one_line("".join(paragraphs.pop()))
            if text and rows and cells:
                cells[-1].append(text)
            elif text:
                yield text, _level(element, levels)
        elif tag == _ROW:
            rows -= 1
            if not rows:
                if any(cells):
                    yield " | ".join(" ".join(cell) for cell in cells), 0
                cells = []


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
