"""Reads DOCX: a line per paragraph and table row, with headings and notes.

python-docx opens the package and knows its styles. Its own text of a paragraph leaves out
content controls, tracked insertions, text boxes and notes, so the text is taken from the
elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from gptoss_mlx.library.readers.archive import MAX_MEMBER_BYTES, Archive
from gptoss_mlx.library.readers.source import Source, missing, one_line
from gptoss_mlx.library.text import Heading, Text

__all__ = ["read_docx"]

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_P, _ROW, _CELL, _TEXT = f"{_W}p", f"{_W}tr", f"{_W}tc", f"{_W}t"
_SPACES = (f"{_W}tab", f"{_W}br", f"{_W}cr")
_HYPHEN = f"{_W}noBreakHyphen"
# The second copy of a text box, and text that was moved elsewhere.
_LEFT_OUT = (
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
    f"{_W}moveFrom",
)
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)
_MAX_STYLES_DEEP = 20


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

    with Archive(source) as archive:
        if "[Content_Types].xml" not in archive:
            raise source.unreadable("is damaged: it has no [Content_Types].xml")
        for name in archive.names():
            if name.endswith((".xml", ".rels")) and archive.nbytes(name) > MAX_MEMBER_BYTES:
                limit = MAX_MEMBER_BYTES >> 20
                raise source.unreadable(f"{name} in it is over {limit} MB")
    source.file.seek(0)
    document = docx.Document(source.file)
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


def _levels(document: Any) -> dict[str, int]:
    """Return the level of each heading style, by its id."""
    levels: dict[str, int] = {}
    for style in document.styles:
        base, deep = style, 0
        while base is not None and deep < _MAX_STYLES_DEEP:
            name = base.name or ""
            if found := _HEADING.fullmatch(name):
                levels[style.style_id] = min(int(found[1]), 6)
            elif name.lower() == "title":
                levels[style.style_id] = 1
            if style.style_id in levels:
                break
            base, deep = getattr(base, "base_style", None), deep + 1
    return levels


def _notes(document: Any) -> Iterator[Any]:
    """Parse the footnotes and endnotes."""
    from docx.oxml import parse_xml

    for relation in document.part.rels.values():
        kind = relation.reltype.rpartition("/")[2]
        if kind in ("footnotes", "endnotes") and not relation.is_external:
            yield parse_xml(relation.target_part.blob)


def _blocks(root: Any, levels: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the text of each paragraph and table row, and its level if it is a heading."""
    for element in list(root.iter(*_LEFT_OUT)):
        # lxml's remove would take the text after it as well, but XML of Word has none.
        element.getparent().remove(element)
    for element in root.iter(_P, _ROW):
        if next(element.iterancestors(_ROW), None) is not None:
            continue
        if element.tag == _ROW:
            cells = [
                one_line(" ".join(map(_paragraph, cell.iter(_P))))
                for cell in element.iter(_CELL)
                if next(cell.iterancestors(_ROW), None) is element
            ]
            text, level = " | ".join(cells).strip(), 0
            text = text if any(cells) else ""
        else:
            text, level = one_line(_paragraph(element)), _level(element, levels)
        if text:
            yield text, level


def _paragraph(paragraph: Any) -> str:
    """Return the text of a paragraph, without those of text boxes in it."""
    parts: list[str] = []
    for element in paragraph.iter(_TEXT, _HYPHEN, *_SPACES):
        if next(element.iterancestors(_P), None) is paragraph:
            if element.tag == _TEXT:
                parts.append(element.text or "")
            else:
                parts.append("-" if element.tag == _HYPHEN else " ")
    return "".join(parts)


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
