"""Reads plain text: its own lines."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from gptoss_mlx.library.lines import pack
from gptoss_mlx.library.readers.encoding import BINARY, find_encoding
from gptoss_mlx.library.readers.source import Source
from gptoss_mlx.library.text import Text

__all__ = ["read_lines", "read_plain"]

_CHUNK_BYTES = 1 << 20
_LONG_BYTES = 4 << 20
_MAX_CHARACTERS = 2_000_000


def read_plain(source: Source) -> Text:
    """Read a plain text.

    Raises:
        UnreadableDocumentError: It is binary.
    """
    return Text(source.path.name, read_lines(source))


def read_lines(source: Source) -> Sequence[str]:
    """Read the lines of a text of any size, ended by LF, CR LF or CR.

    Those of a large text are packed: they need about a third of its bytes.

    Raises:
        UnreadableDocumentError: It is binary, or has a line that is too long to search.
    """
    encoding = find_encoding(_chunks(source))
    if encoding == BINARY:
        raise source.unreadable("a binary file")
    source.file.seek(0)
    wrapper = io.TextIOWrapper(source.file, encoding=encoding, errors="replace")
    try:
        lines = _lines(source, wrapper, may_hold_nul=encoding.startswith("utf-"))
        return pack(lines) if source.nbytes > _LONG_BYTES else tuple(lines)
    finally:
        wrapper.detach()  # it would close the file


def _lines(
    source: Source, wrapper: io.TextIOWrapper, *, may_hold_nul: bool
) -> Iterator[str]:
    while line := wrapper.readline(_MAX_CHARACTERS + 1):
        if len(line) > _MAX_CHARACTERS:
            raise source.unreadable("has a line of over two million characters")
        if may_hold_nul and "\0" in line:
            raise source.unreadable("a binary file")
        yield line[:-1] if line.endswith("\n") else line


def _chunks(source: Source) -> Iterator[bytes]:
    source.file.seek(0)
    left = source.nbytes
    while left > 0 and (chunk := source.file.read(min(left, _CHUNK_BYTES))):
        left -= len(chunk)
        yield chunk
