"""Reads CSV: a line per row, at the place of the row's first line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from gptoss_mlx.library.lines import PackedLines, pack
from gptoss_mlx.library.readers.plain import read_lines
from gptoss_mlx.library.readers.source import Source, one_line
from gptoss_mlx.library.text import Text

__all__ = ["read_csv"]

_DELIMITERS = ",;\t|"


def read_csv(source: Source) -> Text:
    """Read a CSV file with any of the usual delimiters.

    The lines that continue a row are left empty, so that a line's number is the file's.
    What is not CSV is a plain text.

    Raises:
        UnreadableDocumentError: It is binary.
    """
    lines = read_lines(source)
    # csv.Sniffer can take minutes, and guesses letters.
    first = lines[0] if lines else ""
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = _rows(lines, delimiter)
        is_long = isinstance(lines, PackedLines)
        return Text(source.path.name, pack(rows) if is_long else tuple(rows))
    except csv.Error:  # a quote that is never closed
        return Text(source.path.name, lines)


def _rows(lines: Sequence[str], delimiter: str) -> Iterator[str]:
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
    done = 0
    for row in reader:
        yield " | ".join(map(one_line, row))
        yield from [""] * (reader.line_num - done - 1)
        done = reader.line_num
