"""Reads plain text: its own lines."""

from __future__ import annotations

import io
from collections.abc import Iterator

from gptoss_mlx.library.readers.encoding import BINARY, find_encoding
from gptoss_mlx.library.readers.source import Source
from gptoss_mlx.library.text import Text

__all__ = ["read_lines", "read_plain"]

_CHUNK_BYTES = 1 << 20


def read_plain(source: Source) -> Text:
    """Read a plain text.

    Raises:
        UnreadableDocumentError: It is binary.
    """
    return Text(source.path.name, read_lines(source))


def read_lines(source: Source) -> tuple[str, ...]:
    """Read the lines of a text of any size, ended by LF, CR LF or CR.

    Needs the memory of the lines and of one chunk, not of the file as well.

    Raises:
        UnreadableDocumentError: It is binary.
    """
    encoding = find_encoding(_chunks(source))
    if encoding == BINARY:
        raise source.unreadable("a binary file")
    source.file.seek(0)
    wrapper = io.TextIOWrapper(source.file, encoding=encoding, errors="replace")
    try:
        lines = tuple(line[:-1] if line.endswith("\n") else line for line in wrapper)
    finally:
        wrapper.detach()  # it would close the file
    if encoding.startswith(("utf-16", "utf-32")) and any("\0" in line for line in lines):
        raise source.unreadable("a binary file")
    return lines


def _chunks(source: Source) -> Iterator[bytes]:
    source.file.seek(0)
    left = source.nbytes
    while left > 0 and (chunk := source.file.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk
