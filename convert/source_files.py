"""The files that a conversion reads: their state, their headers and their digests."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.checkpoint.layout import INDEX
from gptoss_mlx.checkpoint.safetensors import Header, read_header_bytes
from gptoss_mlx.errors import ConvertError, storage_errors
from gptoss_mlx.files import FileIdentity
from gptoss_mlx.manifest import FileEntry

from .digest import BackgroundSha256
from .plan import OutputTensor

__all__ = ["Pinned", "SourceDigests", "SourceFiles", "read_headers"]

# The headers of gpt-oss-120b take 200 kB. JSON may need three times as much for them.
MAX_HEADERS_BYTES = 2 << 20


class Pinned(Protocol):
    """Safetensors files that are known before they are there."""

    @property
    def headers(self) -> Mapping[str, Header]:
        """Their headers, by name."""

    @property
    def pins(self) -> Mapping[str, FileEntry]:
        """Their lengths and sha256, by name."""


class SourceFiles:
    """The files that a conversion reads, to check at its end that none has changed."""

    def __init__(
        self,
        folder: Path,
        names: Iterable[str],
        gone: Mapping[str, Any] | None = None,
        pinned: Pinned | None = None,
    ) -> None:
        """Record the files' identities before any is read.

        Args:
            folder: The checkpoint's folder.
            names: The small files to record besides the checkpoint's own. Those of
                ``original/`` may be in the folder around it.
            gone: The identities of files that an earlier run has removed, by name.
            pinned: The safetensors files, if they arrive later: their sha256 and headers
                identify them, and not their places and states on the disk.

        Raises:
            StorageError: The folder cannot be read.
        """
        self._folder = folder
        self._names = frozenset(names) | {"config.json", INDEX}
        self._gone = dict(gone or {})
        self._pinned = pinned
        self._before = self._look()

    def identity(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Describe the files of ``checkpoint``, so that any change can be detected."""
        keys = json.dumps(checkpoint.config_keys, sort_keys=True)
        if self._pinned is not None:
            files = dict(_pinned_identities(self._pinned))
        else:
            # Without the device, whose number changes when a disk is reconnected.
            files = {
                path.name: [os.path.realpath(path), *identity[1:]]
                for path, identity in self._before.items()
                if path.suffix == ".safetensors"
            }
        return {
            "folder": os.path.realpath(self._folder),
            "config": hashlib.sha256(keys.encode()).hexdigest(),
            "files": dict(sorted({**self._gone, **files}.items())),
        }

    def check_unchanged(self) -> None:
        """Compare the files with their recorded identities.

        Raises:
            ConvertError: One was changed, replaced, removed or added.
            StorageError: The folder cannot be read.
        """
        now = self._look()
        for path in sorted(self._before.keys() | now.keys()):
            if self._before.get(path) != now.get(path):
                raise ConvertError(
                    f"{path} changed while it was converted.",
                    hint="Run the same command again, once nothing writes to the source.",
                )

    def arrived(self, path: Path) -> None:
        """Begin to check a file that was not there before.

        Raises:
            StorageError: The system does not allow a look.
        """
        with storage_errors(path):
            self._before[path] = FileIdentity.of(path.stat())

    def forget(self, path: Path) -> None:
        """Stop checking a file, since it is about to be removed."""
        self._before.pop(path, None)

    def _look(self) -> dict[Path, FileIdentity]:
        is_inner = self._folder.name == "original"
        folders = [self._folder, self._folder.parent] if is_inner else [self._folder]
        found = {}
        for folder in folders:
            with storage_errors(folder):
                for path in folder.iterdir():
                    is_tensors = folder == self._folder and path.suffix == ".safetensors"
                    if (is_tensors or path.name in self._names) and path.exists():
                        found[path] = FileIdentity.of(path.stat())
        return found


def _pinned_identities(pinned: Pinned) -> Iterator[tuple[str, list[Any]]]:
    """Yield what identifies each file.

    The headers are those of the files only once these have arrived: a run with others must
    not continue with what was made by them.
    """
    for name, pin in pinned.pins.items():
        header = hashlib.sha256(pinned.headers[name].content).hexdigest()
        yield name, ["sha256", pin.sha256, pin.nbytes, header]


def read_headers(checkpoint: Checkpoint, gone: Mapping[str, Header]) -> dict[str, Header]:
    """Read the headers of a checkpoint's files, by the files' names.

    Args:
        checkpoint: The source.
        gone: The headers of files that are no longer there.

    Returns:
        No header if they are too large to be recorded.

    Raises:
        CorruptFileError: A file was changed since the checkpoint was opened.
        StorageError: A file cannot be read.
    """
    headers = {}
    for path in sorted({tensor.path for tensor in checkpoint.files.values()}):
        headers[path.name] = gone.get(path.name) or _read_header(path)
    total = sum(len(header.content) for header in headers.values())
    return headers if total <= MAX_HEADERS_BYTES else {}


def _read_header(path: Path) -> Header:
    content, identity = read_header_bytes(path)
    return Header(content, identity.nbytes)


class SourceDigests:
    """The sha256 of each source file that is read from its first byte to its last one.

    They are computed in a thread of their own.
    """

    def __init__(self, headers: Mapping[str, Header]) -> None:
        """Begin.

        Args:
            headers: The headers of the files to hash, by name.
        """
        self._headers = headers
        self._digests = {}
        self._places = {}
        self._executor = ThreadPoolExecutor(max_workers=1)
        for name, header in headers.items():
            nbytes = len(header.content)
            begin = nbytes.to_bytes(8, "little") + header.content
            self._digests[name] = BackgroundSha256(self._executor, begin)
            self._places[name] = len(begin)

    def __enter__(self) -> SourceDigests:
        return self

    def __exit__(self, *reason: object) -> None:
        self._executor.shutdown()

    def add(self, tensor: OutputTensor, done: int, piece: bytes) -> None:
        """Add a piece of a source tensor.

        Args:
            tensor: The tensor that is made of it.
            done: Bytes of the source tensor before the piece.
            piece: The bytes read.
        """
        name = tensor.source_file
        if self._places.get(name) != tensor.source_start + done:
            self._places.pop(name, None)  # not in the order of the file
            return
        self._places[name] += len(piece)
        self._digests[name].update(piece)

    def of(self, names: Iterable[str]) -> dict[str, str]:
        """Return the sha256 of those files that were read as a whole."""
        return {
            name: self._digests[name].hexdigest()
            for name in sorted(names)
            if name in self._headers
            and self._places.get(name) == self._headers[name].file_bytes
        }
