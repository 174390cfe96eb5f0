"""Reads PDF: the lines of each page, with the outline as headings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from gptoss_mlx.library.readers.source import Source
from gptoss_mlx.library.text import Heading, Text

__all__ = ["read_pdf"]

_PROGRAM = Path(__file__).with_name("pdf_pages.py")
_TIMEOUT_S = 120.0

# What programs write where no one gave a title.
_NO_TITLES = ("untitled", "microsoft word - ", "microsoft powerpoint - ", "unbenannt")


def read_pdf(source: Source, *, timeout_s: float = _TIMEOUT_S) -> Text:
    """Read a PDF, in a process of its own.

    Args:
        source: The document.
        timeout_s: The most time that it may take.

    Raises:
        UnreadableDocumentError: It is damaged, encrypted or scanned, or takes too long.
    """
    source.file.seek(0)
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-I", str(_PROGRAM)],
            stdin=source.file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise source.unreadable(f"takes over {timeout_s:g} s to read") from error
    # Its last line may be cut if it was ended.
    values = [json.loads(line) for line in done.stdout.splitlines() if line[-1:] in b"]}"]
    for value in values:
        if isinstance(value, dict) and "error" in value:
            raise source.unreadable(value["error"])
    if done.returncode or not values:
        raise source.unreadable("is damaged: the PDF reader stopped")
    return _text(source, values[0], values[1:])


def _text(source: Source, about: dict[str, Any], pages: list[list[str]]) -> Text:
    if not any(pages):
        raise source.unreadable("a scanned PDF without text" if pages else "has no pages")
    starts: list[int] = []
    lines: list[str] = []
    for page in pages:
        starts.append(len(lines))
        lines += page
    headings = [
        Heading(starts[page] + _line_of(title, pages[page]), min(level, 6), title)
        for page, level, title in about["outline"]
        if 0 <= page < len(pages) and pages[page]
    ]
    headings.sort(key=lambda heading: heading.line)
    title = about["title"]
    if title.lower().startswith(_NO_TITLES):
        title = ""
    return Text(title or source.path.name, tuple(lines), tuple(headings), tuple(starts))


def _line_of(title: str, page: list[str]) -> int:
    """Return the index of the line of a page where a section begins; 0 if unclear."""
    wanted = "".join(title.split()).casefold()
    lines = ["".join(line.split()).casefold() for line in page]
    for index, line in enumerate(lines):
        if wanted in line:
            return index
    # PDFs have the letters of an Arabic ligature in any order.
    letters = sorted(wanted)
    for index, line in enumerate(lines):
        if len(line) == len(wanted) and sorted(line) == letters:
            return index
    return 0
