"""The journal of an unfinished conversion: its complete files, and what it was made of.

The next run does not write the complete files again. With the headers of the source's files
it can do without those that are removed because all of their tensors are written.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gptoss_mlx.checkpoint.safetensors import Header
from gptoss_mlx.errors import ConvertError, WrongFileError, storage_errors
from gptoss_mlx.files import MAX_JSON_BYTES, has_file, parse_json, read_file

from .writer import WrittenFile, sync_folder, write_file

__all__ = ["DRAFT", "JOURNAL", "LOCK", "Journal", "read_journal"]

LOCK = ".lock"
JOURNAL = ".journal.json"
DRAFT = ".journal.new"


@dataclass(frozen=True, slots=True)
class _Content:
    """What an earlier run has recorded.

    Attributes:
        key: Its key; None if the journal is damaged.
        files: Its entries of complete files, as found.
        identities: The identity of each source file, by name.
        folder: Path of the source; empty if the journal is damaged.
        identities: The identity of each source file that it has removed, by name.
        headers: The headers of these files, by name.
    """

    key: Any = None
    files: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""
    identities: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, Header] = field(default_factory=dict)


def read_journal(partial: Path) -> _Content | None:
    """Read the journal of a partial folder, without locking it.

    Returns:
        None if there is no journal. What is damaged in it is left out.

    Raises:
        StorageError: The system refuses.
    """
    path = partial / JOURNAL
    with storage_errors(path):
        if not os.path.lexists(path):
            return None
    try:
        before = parse_json(read_file(path, max_bytes=MAX_JSON_BYTES))
        key, files = before["key"], dict(before["files"])
    except (KeyError, TypeError, ValueError, WrongFileError):
        return _Content()
    try:
        source, texts = key["source"], before["headers"]
        identities = {_name(name): source["files"][name] for name in before["removed"]}
        headers = {
            name: Header(texts[name].encode(), _file_bytes(identity))
            for name, identity in identities.items()
        }
        folder = str(source["folder"])
        return _Content(key, files, folder, identities, headers)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return _Content(key, files)


def _name(value: Any) -> str:
    """Return the name of a file of the source, which is not a path out of it."""
    if not isinstance(value, str) or Path(value).name != value:
        raise TypeError
    return value


def _file_bytes(identity: Any) -> int:
    """Return the length in a source file's identity: path, inode, length, time."""
    if type(identity) is not list or type(identity[2]) is not int or identity[2] < 0:
        raise TypeError
    length: int = identity[2]
    return length


class Journal:
    """The complete files of a partial folder.

    Attributes:
        files: The complete files, by name.
        removed: The names of the source's files that were removed, or are about to be.
    """

    def __init__(
        self,
        partial: Path,
        key: Mapping[str, Any],
        tensors: Mapping[str, Collection[str]],
        notice: Callable[[str], None],
        *,
        headers: Mapping[str, Header] | None = None,
        irreplaceable: Mapping[str, Collection[str]] | None = None,
        unfinished: Collection[str] = (),
    ) -> None:
        """Read an earlier run's journal, and remove files that this run cannot use.

        Args:
            partial: A claimed folder.
            key: JSON that is equal for runs that write the same files.
            tensors: Names of each file's tensors in this run.
            notice: Called with a sentence about the earlier run's files.
            headers: The headers of the source's files, by name.
            irreplaceable: For each source file that is gone, the files that were made
                of it and cannot be made again.
            unfinished: Names of files that an earlier run with the same key may have
                begun, and that stay. Links, pipes and folders of these names do not.

        Raises:
            ConvertError: An irreplaceable file is missing or damaged, or the earlier run
                had another source, recipe or version and has removed files of its source.
                Nothing is changed.
            StorageError: The system refuses.
        """
        self._path = partial / JOURNAL
        self._key = json.loads(json.dumps(key))
        self._headers = {
            name: header.content.decode() for name, header in (headers or {}).items()
        }
        self._tensors = tensors
        self.files: dict[str, WrittenFile] = {}
        self.removed: set[str] = set()
        begun: set[str] = set()
        before = read_journal(partial)
        if before is not None and before.key == self._key:
            self.removed = set(before.headers)
            for name, header in before.headers.items():
                self._headers.setdefault(name, header.content.decode())
            with storage_errors(partial):
                self._keep(before.files)
                begun = {name for name in unfinished if _is_own(partial / name)}
        elif before is not None:
            self._check_removed(before)
        self._check_irreplaceable(irreplaceable or {})
        if self.files:
            notice(f"Continuing. Files already written: {len(self.files)}.")
        elif before is not None and before.key != self._key:
            notice(f"Starting over: {partial} has another source, recipe or version.")
        with storage_errors(partial):
            for path in partial.iterdir():
                if path.name not in {LOCK, JOURNAL, *self.files, *begun}:
                    is_folder = path.is_dir() and not path.is_symlink()
                    shutil.rmtree(path) if is_folder else path.unlink()
        self._write()

    def record(self, file: str, written: WrittenFile) -> None:
        """Record that ``file`` is complete.

        Raises:
            StorageError: The system refuses.
        """
        self.files[file] = written
        self._write()

    def record_removal(self, name: str) -> None:
        """Record that a file of the source is about to be removed.

        Raises:
            StorageError: The system refuses.
        """
        self.removed.add(name)
        self._write()

    def _check_removed(self, before: _Content) -> None:
        """Refuse to start over if the source of what is here was removed."""
        for name in sorted(before.headers):
            if not has_file(Path(before.folder, name)):
                partial = self._path.parent
                raise ConvertError(
                    f"{partial} must be continued with the source, recipe and version that "
                    f"it was begun with: {name} of {before.folder} was removed since it is "
                    "converted there.",
                    hint="Run that command again, or remove the folder: "
                    f"{shlex.quote(str(partial))}",
                )

    def _check_irreplaceable(self, gone: Mapping[str, Collection[str]]) -> None:
        for name, files in sorted(gone.items()):
            if missing := sorted(set(files) - self.files.keys()):
                partial = self._path.parent
                raise ConvertError(
                    f"{partial} must have {missing[0]} whole, but has not, and {name}, "
                    "which it was made of, was removed.",
                    hint="Download the source again, and remove the folder: "
                    f"{shlex.quote(str(partial))}",
                )

    def _keep(self, files: Mapping[str, Any]) -> None:
        """Keep the entries of files that are unchanged since the earlier run."""
        for file, tensors in self._tensors.items():
            written, path = _written(files.get(file)), self._path.with_name(file)
            if written is None or written.tensors.keys() != set(tensors):
                continue
            if os.path.lexists(path):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_size == written.nbytes:
                    self.files[file] = written

    def _write(self) -> None:
        files = {file: asdict(written) for file, written in self.files.items()}
        content = {
            "key": self._key,
            "files": files,
            "headers": self._headers,
            "removed": sorted(self.removed),
        }
        draft = self._path.with_name(DRAFT)
        write_file(draft, json.dumps(content).encode())
        with storage_errors(self._path):
            draft.replace(self._path)
        sync_folder(self._path.parent)


def _is_own(path: Path) -> bool:
    """Whether a path is a regular file without another name."""
    if not os.path.lexists(path):
        return False
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _written(entry: Any) -> WrittenFile | None:
    """Read an entry of a journal; None if it is invalid."""
    try:
        written = WrittenFile(**entry)
        texts = (written.sha256, *_texts(written.tensors), *_texts(written.sources))
        is_whole = type(written.nbytes) is int and all(isinstance(t, str) for t in texts)
    except (AttributeError, TypeError):
        return None
    return written if is_whole else None


def _texts(digests: Mapping[Any, Any]) -> Iterator[Any]:
    yield from digests.keys()
    yield from digests.values()
