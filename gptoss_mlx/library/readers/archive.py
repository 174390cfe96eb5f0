"""Reads the members of a ZIP archive of others (DOCX, EPUB) within limits.

Nothing is unpacked to the disk, so a member's name is only a key.
"""

from __future__ import annotations

import zipfile
from types import TracebackType
from typing import IO, cast

from gptoss_mlx.library.readers.source import Source

__all__ = ["Archive"]

# A member is parsed in memory.
_MAX_MEMBER_BYTES = 32 << 20
_MAX_TOTAL_BYTES = 512 << 20
_MAX_MEMBERS = 20_000
_MAX_DIRECTORY_BYTES = 8 << 20

# Others can yield gigabytes at a single step of zipfile.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_ENCRYPTED = 1  # of the flags of a member


class _Limited:
    """A file that reads no directory of hundreds of megabytes, which zipfile would."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.is_directory_read = False

    def read(self, nbytes: int = -1, /) -> bytes:
        """Read bytes."""
        if nbytes > _MAX_DIRECTORY_BYTES and not self.is_directory_read:
            raise self._source.unreadable(f"an archive of over {_MAX_MEMBERS:,} files")
        return self._source.file.read(nbytes)

    def seek(self, place: int, whence: int = 0, /) -> int:
        """Go to a place."""
        return self._source.file.seek(place, whence)

    def tell(self) -> int:
        """Return the place."""
        return self._source.file.tell()

    def seekable(self) -> bool:
        """Whether it has places."""
        return True


class Archive:
    """A ZIP archive whose sizes are within limits.

    No more of a member is inflated than the directory states.

    Raises:
        UnreadableDocumentError: It is damaged, encrypted, or inflates to too much.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        source.file.seek(0)
        file = _Limited(source)
        try:
            self._zip = zipfile.ZipFile(cast("IO[bytes]", file))
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise source.unreadable(f"is damaged: {error}") from error
        file.is_directory_read = True
        members = self._zip.infolist()
        if len(members) > _MAX_MEMBERS:
            raise source.unreadable(f"an archive of over {_MAX_MEMBERS:,} files")
        if sum(member.file_size for member in members) > _MAX_TOTAL_BYTES:
            raise source.unreadable(
                f"an archive that unpacks to over {_MAX_TOTAL_BYTES >> 20} MB"
            )
        if any(member.flag_bits & _ENCRYPTED for member in members):
            raise source.unreadable("needs a password")
        if any(member.compress_type not in _METHODS for member in members):
            raise source.unreadable("is damaged: it is compressed in an unusual way")
        self._members = {member.filename: member for member in members}

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def nbytes(self, name: str) -> int:
        """Return the size of a member, or 0 if there is none."""
        return self._members[name].file_size if name in self._members else 0

    def names(self) -> list[str]:
        """Return the names of all members."""
        return list(self._members)

    def read(self, name: str) -> bytes:
        """Read a member.

        Raises:
            UnreadableDocumentError: There is none of this name, it is damaged or too large.
        """
        if name not in self._members:
            raise self._source.unreadable(f"is damaged: it has no {name}")
        if self.nbytes(name) > _MAX_MEMBER_BYTES:
            limit = _MAX_MEMBER_BYTES >> 20
            raise self._source.unreadable(f"{name} in it is over {limit} MB")
        # Without a size it would inflate all that is there, whatever the directory states.
        with self._zip.open(self._members[name]) as file:
            content = file.read(self.nbytes(name))
            file.read(1)  # checks the checksum
        return content
