"""What an index stores of a document's text beside its passages."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from gptoss_mlx.errors import DocumentNotFoundError
from gptoss_mlx.library.database import storable
from gptoss_mlx.library.lines import Block, PackedLines, packed, unpacked
from gptoss_mlx.library.text import Heading, Link, Text

__all__ = ["pack_layout", "stored_layout", "stored_text"]


def pack_layout(text: Text) -> bytes:
    """Return the number of lines, headings, pages and links, compressed."""
    return packed(
        json.dumps(
            {
                "lines": len(text.lines),
                "headings": [(each.line, each.level, each.text) for each in text.headings],
                "pages": text.pages,
                "links": [
                    (each.line, each.start, each.end, each.target, each.text)
                    for each in text.links
                ],
            }
        )
    )


def stored_layout(database: sqlite3.Connection, name: str) -> Text:
    """Return the headings, pages and links of a document, without its lines.

    Args:
        database: That of the index.
        name: Of the document.

    Raises:
        DocumentNotFoundError: There is none of this name.
    """
    _, title, stored = _read(database, name)
    return _text(title, (), stored)


def stored_text(database: sqlite3.Connection, name: str) -> Text:
    """Return a document's text.

    Lines of white space alone are empty where they stand between passages.

    Args:
        database: That of the index.
        name: Of the document.

    Raises:
        DocumentNotFoundError: There is none of this name.
    """
    document, title, stored = _read(database, name)
    rows = database.execute(
        "SELECT first_line, text FROM passages WHERE document = ? ORDER BY first_line",
        (document,),
    )
    lines = PackedLines(stored["lines"], [Block(*row) for row in rows])
    return _text(title, lines, stored)


def _read(database: sqlite3.Connection, name: str) -> tuple[int, str, dict[str, Any]]:
    found = database.execute(
        "SELECT id, title, layout FROM documents WHERE name = ?", (storable(name),)
    ).fetchone()
    if found is None:
        raise DocumentNotFoundError(f"{name}: is not in the library.")
    document, title, layout = found
    return document, title, json.loads(unpacked(layout))


def _text(title: str, lines: Sequence[str], stored: dict[str, Any]) -> Text:
    return Text(
        title,
        lines,
        tuple(Heading(*each) for each in stored["headings"]),
        tuple(stored["pages"]),
        tuple(Link(*each) for each in stored["links"]),
    )
