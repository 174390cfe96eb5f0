"""A converted folder that is open to be served: its listed files, and nothing else."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.errors import VerifyError, WrongFileError, storage_errors
from gptoss_mlx.files import MAX_JSON_BYTES, read_file
from gptoss_mlx.manifest import MANIFEST, FileEntry, manifest_path, parse_manifest
from gptoss_mlx.manifest_digest import MANIFEST_SHA256, check_digest, digest_line

__all__ = ["SharedFile", "SharedModel", "open_shared", "shared_name"]


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file that is served.

    Attributes:
        content: Its bytes, if it is kept in memory.
        descriptor: The open file otherwise.
    """

    nbytes: int
    sha256: str
    content: bytes = b""
    descriptor: int | None = None

    def read(self, start: int, nbytes: int) -> bytes:
        """Read bytes, fewer at the end of the file.

        Raises:
            OSError: The system refuses.
        """
        if self.descriptor is None:
            return self.content[start : start + nbytes]
        return os.pread(self.descriptor, nbytes, start)


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A converted folder.

    Attributes:
        name: Its name on the network, of letters, digits and ``._-``.
        digest: sha256 of its manifest.json.
        recipe: Name of its recipe.
        nbytes: Bytes of the files that the manifest lists.
        files: What is served, by name: these files, the manifest and its sha256.
    """

    name: str
    digest: str
    recipe: str
    nbytes: int
    files: Mapping[str, SharedFile]


def shared_name(folder: Path) -> str:
    """Return a folder's name on the network, which needs no quotes in a shell or a URL."""
    name = unicodedata.normalize("NFC", Path(os.path.realpath(folder)).name)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100] or "model"


@contextmanager
def open_shared(folder: Path) -> Iterator[SharedModel]:
    """Open the files that ``folder``'s manifest lists, until the context ends.

    Every file is opened once, here, so no request can name another one.

    Raises:
        VerifyError: There is no manifest, or a file has another length.
        WrongFileError: A file is a link, a folder, a pipe or a device.
        StorageError: A file cannot be opened.
    """
    path = manifest_path(folder)
    check_digest(folder)
    content = read_file(path, max_bytes=MAX_JSON_BYTES)
    manifest = parse_manifest(content, str(path))
    digest = hashlib.sha256(content).hexdigest()
    with ExitStack() as stack:
        with storage_errors(folder):
            place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, place)
        files = {}
        for name, entry in manifest.files.items():
            descriptor = _open(folder, place, name, entry)
            stack.callback(os.close, descriptor)
            files[name] = SharedFile(entry.nbytes, entry.sha256, descriptor=descriptor)
        files[MANIFEST] = SharedFile(len(content), digest, content)
        line = digest_line(content)
        files[MANIFEST_SHA256] = SharedFile(len(line), "", line)
        nbytes = sum(entry.nbytes for entry in manifest.files.values())
        yield SharedModel(shared_name(folder), digest, manifest.recipe, nbytes, files)


def _open(folder: Path, place: int, name: str, entry: FileEntry) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with storage_errors(folder / name):
        status = os.stat(name, dir_fd=place, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise WrongFileError(
                f"{folder / name}: must be a file of the folder but is a link, a folder, "
                "a pipe or a device.",
                hint="Put the file itself there.",
            )
        descriptor = os.open(name, flags, dir_fd=place)
        # It may have been replaced since the check.
        status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size != entry.nbytes:
        os.close(descriptor)
        raise VerifyError(
            f"{folder / name}: must have {entry.nbytes:,} bytes but has "
            f"{status.st_size:,}.",
            hint=f"See what else differs: gptoss-mlx verify {folder}",
        )
    return descriptor
