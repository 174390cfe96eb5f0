"""Documents that other programs wrote, and what stands in them.

data/documents.tar.xz holds them; its README tells how they were made.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["FORMATS", "Document", "Sentence", "documents"]

ARCHIVE = Path(__file__).parent / "data" / "documents.tar.xz"
FORMATS = ("code", "csv", "docx", "epub", "html", "mail", "markdown", "pdf", "text")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a document.

    Attributes:
        text: Its words.
        key: What stands in it and in no other.
        line: Where the key stands, from 1; None if the file has no lines.
        page: The page that it stands on, from 1; None without pages.
        heading: What it stands under; None if the file marks no headings.
    """

    text: str
    key: str
    line: int | None = None
    page: int | None = None
    heading: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A document and what stands in it.

    Attributes:
        name: Its folder, which is its format, and its file's name.
        program: What wrote it.
        content: The file.
        title: The title that it states, if any.
        headings: Level and words of each, or None if it marks none.
        sentences: In order.
        rows: Cells that stand on one line.
    """

    name: str
    program: str
    content: bytes
    title: str | None
    headings: Sequence[tuple[int, str]] | None
    sentences: Sequence[Sentence]
    rows: Sequence[Sequence[str]]


@cache
def documents() -> dict[str, list[Document]]:
    """Return the documents of each format."""
    files: dict[str, bytes] = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                files[member.name] = file.read()
    found: dict[str, list[Document]] = {name: [] for name in FORMATS}
    entries: list[dict[str, Any]] = json.loads(files["expected.json"])
    for entry in entries:
        name = entry["file"]
        headings = entry["headings"]
        found[name.partition("/")[0]].append(
            Document(
                name,
                entry["program"],
                files[name],
                entry["title"],
                None if headings is None else [(level, text) for level, text in headings],
                [Sentence(**sentence) for sentence in entry["sentences"]],
                entry["rows"],
            )
        )
    return found
