"""The folder of an unfinished conversion: ``DST.partial``.

A lock keeps two conversions from writing it at once, and a journal lists the complete
files, which the next run does not write again.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gptoss_mlx.errors import (
    ConvertError,
    DestinationExistsError,
    WrongFileError,
    storage_errors,
)
from gptoss_mlx.files import MAX_JSON_BYTES, has_file, lock_file, parse_json, read_file
from gptoss_mlx.manifest import MANIFEST

from .writer import WrittenFile, sync_folder, write_file

__all__ = ["Journal", "claim_partial", "clear_finished", "finish_partial", "partial_of"]

LOCK = ".lock"
JOURNAL = ".journal.json"
DRAFT = ".journal.new"


def partial_of(destination: Path) -> Path:
    """Return the folder in which ``destination`` is written."""
    return destination.with_name(f"{destination.name}.partial")


@contextmanager
def claim_partial(destination: Path) -> Iterator[Path]:
    """Create ``destination``'s partial folder, or continue an earlier run's.

    Until the context ends it is locked, except on a disk without locks.

    Raises:
        ConvertError: Another process is writing it, or it is not a conversion's folder.
        DestinationExistsError: Another process has just finished ``destination``.
        StorageError: The folder cannot be made.
    """
    partial = partial_of(destination)
    with storage_errors(partial):
        descriptor = _lock(partial)
    try:
        with storage_errors(partial):
            # The disk may have filled up before more than the journal's draft was written.
            found = {path.name for path in partial.iterdir()} - {LOCK, DRAFT}
            if os.path.lexists(destination):
                if not found:
                    shutil.rmtree(partial)
                raise DestinationExistsError(f"{destination} already exists.")
        if found and JOURNAL not in found:
            (partial / LOCK).unlink()
            raise ConvertError(
                f"{partial} is not from an earlier conversion: it has no journal.",
                hint="Move that folder away, or choose another destination.",
            )
        yield partial
    finally:
        os.close(descriptor)


def finish_partial(partial: Path, destination: Path) -> None:
    """Rename a complete folder to ``destination``.

    Raises:
        DestinationExistsError: The destination was created in the meantime.
        StorageError: The system refuses.
    """
    with storage_errors(destination):
        sync_folder(partial)
        if os.path.lexists(destination):
            raise DestinationExistsError(f"{destination} already exists.")
        partial.rename(destination)
        # Removed last: without the journal no run could continue after a crash.
        (destination / JOURNAL).unlink()
        (destination / LOCK).unlink()
        sync_folder(destination.parent)


def clear_finished(destination: Path) -> None:
    """Remove what a run has left in ``destination`` that was killed after its rename.

    Nothing is removed from a folder that no conversion has written.

    Raises:
        StorageError: The disk refuses.
    """
    lock = destination / LOCK
    with storage_errors(destination):
        # Path.is_dir raises at a circle of links.
        if not os.path.isdir(destination) or not has_file(lock):  # noqa: PTH112
            return
        if lock.stat().st_size or not has_file(destination / MANIFEST):
            return
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
        try:
            lock_file(descriptor, wait=False)
            (destination / JOURNAL).unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # That run is about to do it.
        finally:
            os.close(descriptor)


def _lock(partial: Path) -> int:
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(
                partial / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644
            )
        except FileNotFoundError:  # another process has just finished and renamed it
            continue
        try:
            lock_file(descriptor, wait=False)
            if os.path.samestat(os.fstat(descriptor), (partial / LOCK).stat()):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise ConvertError(
                f"{partial} is being written by another process.",
                hint="Wait until it is done, or choose another destination.",
            ) from error
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


class Journal:
    """The complete files of a partial folder."""

    def __init__(
        self,
        partial: Path,
        key: Mapping[str, Any],
        tensors: Mapping[str, Collection[str]],
        notice: Callable[[str], None],
    ) -> None:
        """Read an earlier run's journal, and remove files that this run cannot use.

        Args:
            partial: A claimed folder.
            key: JSON that is equal for runs that write the same files.
            tensors: Names of each file's tensors in this run.
            notice: Called with a sentence about the earlier run's files.

        Raises:
            StorageError: The system refuses.
        """
        self._path = partial / JOURNAL
        self._key = json.loads(json.dumps(key))
        self._tensors = tensors
        self.files: dict[str, WrittenFile] = {}
        before = self._read()
        if before is not None:
            if before["key"] == self._key:
                with storage_errors(partial):
                    self._keep(before["files"])
            if self.files:
                notice(f"Continuing. Files already written: {len(self.files)}.")
            elif before["key"] != self._key:
                notice(f"Starting over: {partial} has another source, recipe or version.")
        with storage_errors(partial):
            for path in partial.iterdir():
                if path.name not in {LOCK, JOURNAL, *self.files}:
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

    def _read(self) -> dict[str, Any] | None:
        """Return the earlier run's entries; invalid ones are dropped."""
        with storage_errors(self._path):
            if not os.path.lexists(self._path):
                return None
        try:
            before = parse_json(read_file(self._path, max_bytes=MAX_JSON_BYTES))
            return {"key": before["key"], "files": dict(before["files"])}
        except (KeyError, TypeError, ValueError, WrongFileError):
            return {"key": None, "files": {}}

    def _write(self) -> None:
        files = {file: asdict(written) for file, written in self.files.items()}
        content = json.dumps({"key": self._key, "files": files}).encode()
        draft = self._path.with_name(DRAFT)
        write_file(draft, content)
        with storage_errors(self._path):
            draft.replace(self._path)
        sync_folder(self._path.parent)


def _written(entry: Any) -> WrittenFile | None:
    """Read an entry of a journal; None if it is invalid."""
    try:
        written = WrittenFile(**entry)
        texts = (written.sha256, *written.tensors, *written.tensors.values())
        is_whole = type(written.nbytes) is int and all(isinstance(t, str) for t in texts)
    except (AttributeError, TypeError):
        return None
    return written if is_whole else None
