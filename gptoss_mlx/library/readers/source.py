"""An opened document, as every reader takes it."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

from gptoss_mlx.errors import UnreadableDocumentError

__all__ = ["Source", "one_line", "read_all"]


class Source(NamedTuple):
    """An opened document.

    Attributes:
        path: Its path.
        file: The file, open at its beginning.
        nbytes: Its size. What is appended while it is read is left out.
    """

    path: Path
    file: BinaryIO
    nbytes: int

    def unreadable(
        self, reason: str, *, hint: str | None = None
    ) -> UnreadableDocumentError:
        """Make the error that names this document."""
        return UnreadableDocumentError(self.path, reason, hint=hint)


def read_all(source: Source, *, max_bytes: int) -> bytes:
    """Read a whole document of a kind that is parsed in memory.

    Raises:
        UnreadableDocumentError: It is larger than ``max_bytes``.
    """
    if source.nbytes > max_bytes:
        raise source.unreadable(f"over {max_bytes >> 20} MB, the most for its kind")
    source.file.seek(0)
    return source.file.read(source.nbytes)


def one_line(text: str) -> str:
    """Replace each run of white space by one space, and strip both ends."""
    return " ".join(text.split())
