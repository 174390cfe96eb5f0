"""Prints the text of the PDF at standard input, as JSON lines; a program of its own.

PDFium is C++ and reads what strangers wrote: whatever it does, the caller's process and
memory stay as they are. Imports nothing of gptoss_mlx, so that it starts quickly.

The first line is {"title": …, "outline": [[page, level, text], …]}, each further line the
list of a page's lines. What it cannot do is {"error": …}.
"""

from __future__ import annotations

import contextlib
import json
import re
import resource
import sys
from typing import Any, BinaryIO

MAX_BYTES = 1 << 30
MAX_PAGES = 20_000
MAX_CHARACTERS = 64 << 20
MAX_OUTLINE = 5_000

# A word that is cut at the end of a line: PDFium joins it, and leaves a mark.
_CUT = re.compile("(?<=[^\\W\\d_])[\x02\ufffe](?=[^\\W\\d_])")
# What PDFium writes for another hyphen at the end of a line.
_HYPHENS = str.maketrans({"\x02": "-", "\ufffe": "-", "\uffff": None, "\0": None})


def _pages(document: Any, write: Any) -> None:
    characters = 0
    for index in range(min(len(document), MAX_PAGES)):
        page = document[index]
        textpage = page.get_textpage()
        text = textpage.get_text_range(errors="replace")
        text = _CUT.sub("", text).translate(_HYPHENS)
        textpage.close()
        page.close()
        characters += len(text)
        if characters > MAX_CHARACTERS:
            write({"error": f"over {MAX_CHARACTERS >> 20} million characters"})
            return
        lines = (" ".join(line.split()) for line in text.splitlines())
        write([line for line in lines if line])


def _outline(document: Any) -> list[tuple[int, int, str]]:
    entries: list[tuple[int, int, str]] = []
    for bookmark in document.get_toc():
        place = bookmark.get_dest()
        page = None if place is None else place.get_index()
        title = " ".join(bookmark.get_title().split())
        if page is not None and title:
            entries.append((page, bookmark.level + 1, title))
        if len(entries) >= MAX_OUTLINE:
            break
    return entries


def main(file: BinaryIO) -> None:
    """Read the PDF ``file`` and print its pages."""

    def write(value: object) -> None:
        print(json.dumps(value))  # noqa: T201 - what this program is for

    import pypdfium2

    with contextlib.suppress(ValueError, OSError):  # macOS refuses some limits
        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
    try:
        document = pypdfium2.PdfDocument(file)
        try:
            outline = _outline(document)
        except (pypdfium2.PdfiumError, ValueError, RecursionError):
            outline = []  # a damaged outline is no reason to leave out the text
        title = document.get_metadata_value("Title")
        write({"title": " ".join(title.split()), "outline": outline})
        _pages(document, write)
    except pypdfium2.PdfiumError as error:
        password = getattr(error, "err_code", None) == pypdfium2.raw.FPDF_ERR_PASSWORD
        write({"error": "needs a password" if password else f"is damaged: {error}"})
    except MemoryError:
        write({"error": "needs too much memory"})


if __name__ == "__main__":
    with open(0, "rb", closefd=False) as stdin:
        main(stdin)
    sys.stdout.flush()
