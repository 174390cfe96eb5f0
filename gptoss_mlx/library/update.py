"""Brings an index up to date with the files of its roots."""

from __future__ import annotations

import os
import stat
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gptoss_mlx import __version__
from gptoss_mlx.errors import StorageError, UnreadableDocumentError
from gptoss_mlx.home import home
from gptoss_mlx.library.archives import open_archive
from gptoss_mlx.library.catalog import Root
from gptoss_mlx.library.database import storable
from gptoss_mlx.library.index import Index
from gptoss_mlx.library.reading import read_document
from gptoss_mlx.library.stored_files import StoredFile
from gptoss_mlx.library.walk import Found, reason_of, walk

__all__ = ["Progress", "Update", "update_index"]

# What a program that is killed loses at most, except for one large document. Reading one
# takes long, so that what was read before it is committed first.
_BATCH_SECONDS = 1.0
_LARGE_BYTES = 1 << 20
# Between two reports of progress within a document.
_TOLD_SECONDS = 0.2
# So many documents changed or removed leave terms that no document has any more.
_MANY = 100


class Progress(NamedTuple):
    """How far an update is, of what it has to read.

    Attributes:
        files: Read so far.
        total_files: All that have changed.
        nbytes: Bytes of the files read.
        total_bytes: Bytes of all that have changed.
    """

    files: int
    total_files: int
    nbytes: int
    total_bytes: int


@dataclass(slots=True)
class Update:
    """What an update has done, in numbers of documents.

    Attributes:
        added: That are new.
        changed: That were read again.
        removed: Whose files are gone.
        skipped: Files and folders that are in the library and have no document.
        unchanged: That were left as they were.
        missing: Roots that cannot be reached, and why; their documents are kept.
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    skipped: int = 0
    unchanged: int = 0
    missing: dict[Path, str] = field(default_factory=dict)


def update_index(
    index: Index,
    roots: Sequence[Root],
    *,
    progress: Callable[[Progress], None] | None = None,
    max_bytes: int = 1 << 30,
) -> Update:
    """Read what has changed in the roots, and remove what is gone.

    Args:
        index: The index.
        roots: All that it shall have.
        progress: Called before each file that is read, within a long one, and at the end.
        max_bytes: The most bytes of a file that is read.

    Raises:
        StorageError: The index cannot be written.
    """
    return _Updating(index, roots, progress or (lambda _: None), max_bytes).run()


class _ToRead(NamedTuple):
    root: Root
    found: Found
    before: StoredFile | None


class _Updating:
    def __init__(
        self,
        index: Index,
        roots: Sequence[Root],
        progress: Callable[[Progress], None],
        max_bytes: int,
    ) -> None:
        self._index = index
        self._roots = roots
        self._progress = progress
        self._max_bytes = max_bytes
        self._readers = _readers(max_bytes)
        self._update = Update()
        self._transaction = ExitStack()
        self._begun = 0.0

    def run(self) -> Update:
        """Update all roots."""
        files = self._index.files
        to_read: list[_ToRead] = []
        with self._transaction:
            for label in files.labels() - {root.label for root in self._roots}:
                self._forget(label)
            for root in self._roots:
                try:
                    to_read += self._compare(root)
                except OSError as error:
                    self._update.missing[root.path] = reason_of(error)
            total_bytes = sum(each.found.nbytes for each in to_read)
            nbytes = 0
            for number, each in enumerate(to_read):
                so_far = Progress(number, len(to_read), nbytes, total_bytes)
                self._progress(so_far)
                self._read(each, so_far)
                nbytes += each.found.nbytes
            for root in self._roots:
                if root.path not in self._update.missing:
                    self._finish(root)
            self._commit()
            self._progress(Progress(len(to_read), len(to_read), nbytes, total_bytes))
        if self._update.removed + self._update.changed >= _MANY:
            self._index.drop_unused_terms()
        self._update.skipped = len(files.skipped())
        return self._update

    def _compare(self, root: Root) -> list[_ToRead]:
        # Return what is to be read of a root; what is gone is removed.
        stored = {file.path: file for file in self._index.files.of(root.label)}
        if root.is_archive:
            self._check_archive(root, stored.get(""))
            return []
        if stored and self._is_unplugged(root):
            return []
        # The program's own files change with every update.
        others = {other.path for other in self._roots} - {root.path} | {home().resolve()}
        to_read = []
        kept: list[str] = []
        for found in walk(root.path, others):
            before = stored.pop(found.path, None)
            if found.keep:
                kept.append(f"{found.path}/")
            if found.keep and before is not None and before.name is not None:
                self._update.unchanged += 1
            elif found.reason is not None:
                self._skip(root, found, before)
            elif before is None or before.state != self._state(found, before):
                to_read.append(_ToRead(root, found, before))
            elif before.name is not None:
                self._update.unchanged += 1
        for file in stored.values():
            if file.name is not None and file.path.startswith(tuple(kept)):
                self._update.unchanged += 1
            else:
                self._remove(root, file)
        return to_read

    def _check_archive(self, root: Root, before: StoredFile | None) -> None:
        root.path.stat()
        try:
            open_archive(root.path)
        except (UnreadableDocumentError, StorageError) as error:
            reason = getattr(error, "reason", str(error))
            self._skip(root, Found("", reason=reason), before)
        else:
            if before is not None:
                self._remove(root, before)

    def _is_unplugged(self, root: Root) -> bool:
        # Where a disk was, Linux leaves an empty folder of another disk.
        status = root.path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return False
        before = self._index.files.device(root.label)
        if before in (None, str(status.st_dev)):
            return False
        with os.scandir(root.path) as entries:
            is_empty = next(entries, None) is None
        if is_empty:
            self._update.missing[root.path] = "is empty, and on another disk than before"
        return is_empty

    def _state(self, found: Found, before: StoredFile) -> str:
        # What was skipped is read again when there may be a reader for it.
        return found.state if before.name is not None else f"{found.state} {self._readers}"

    def _read(self, each: _ToRead, so_far: Progress) -> None:
        root, found, before = each
        path = root.path / found.path if found.path else root.path
        text = reason = None
        state = found.state
        if found.nbytes >= _LARGE_BYTES or self._is_due():
            self._commit()
        try:
            if os.path.realpath(path) != str(path):
                raise UnreadableDocumentError(path, "is a link now")
            text = read_document(path, max_bytes=self._max_bytes)
        except UnreadableDocumentError as error:
            reason, state = error.reason, f"{found.state} {self._readers}"
        except StorageError as error:
            cause = error.__cause__
            if not root.path.exists():  # a disk that was unplugged meanwhile
                self._update.missing[root.path] = "is not there any more"
                return
            if isinstance(cause, FileNotFoundError):
                if before is not None:
                    self._remove(root, before)
                return
            reason = reason_of(cause) if isinstance(cause, OSError) else str(error)
            state = ""  # it is tried again next time
        self._work()
        name = self._name(root, found.path, before)
        if text is None:
            name_before = None if before is None else before.name
            if name_before is not None and self._index.remove(name_before):
                self._update.removed += 1
        else:
            if before is not None and before.name is not None:
                self._update.changed += 1
            else:
                self._update.added += 1
            self._index.add(name, text, self._within(found.nbytes, so_far))
        stored = StoredFile(
            found.path, state, found.nbytes, None if text is None else name, reason
        )
        self._index.files.put(root.label, stored)

    def _within(self, nbytes: int, before: Progress) -> Callable[[float], None]:
        # Return what tells the progress within a document.
        told = time.monotonic()

        def tell(share: float) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told >= _TOLD_SECONDS:
                told = now
                done = before.nbytes + int(share * nbytes)
                self._progress(before._replace(nbytes=done))

        return tell

    def _name(self, root: Root, path: str, before: StoredFile | None) -> str:
        if before is not None and before.name is not None:
            return before.name
        name = f"{root.label}/{path}" if path else root.label
        name = storable(unicodedata.normalize("NFC", name))
        # Linux may have two files whose names differ in their Unicode form alone.
        number = 1
        while self._index.has(numbered := name if number == 1 else f"{name} ({number})"):
            number += 1
        return numbered

    def _skip(self, root: Root, found: Found, before: StoredFile | None) -> None:
        new = StoredFile(found.path, found.state, found.nbytes, None, found.reason)
        if before != new:
            if before is not None:
                self._remove(root, before)
            self._work()
            self._index.files.put(root.label, new)

    def _remove(self, root: Root, file: StoredFile) -> None:
        self._work()
        if file.name is not None and self._index.remove(file.name):
            self._update.removed += 1
        self._index.files.remove(root.label, file.path)

    def _forget(self, label: str) -> None:
        for file in self._index.files.of(label):
            self._work()
            if file.name is not None and self._index.remove(file.name):
                self._update.removed += 1
            self._index.files.remove(label, file.path)
        self._work()
        self._index.files.forget(label)

    def _finish(self, root: Root) -> None:
        with suppress(OSError):  # it was unplugged during the update
            device = str(root.path.stat().st_dev)
            self._work()
            self._index.files.finish(root.label, device)

    def _work(self) -> None:
        # Begin a batch, after the last one if that has lasted long enough.
        if self._is_due():
            self._commit()
        if not self._begun:
            self._transaction.enter_context(self._index.transaction())
            self._begun = time.monotonic()

    def _is_due(self) -> bool:
        return bool(self._begun) and time.monotonic() - self._begun >= _BATCH_SECONDS

    def _commit(self) -> None:
        self._transaction.close()
        self._begun = 0.0


def _readers(max_bytes: int) -> str:
    # What decides, beside the file, whether a document can be read.
    return f"{__version__} {max_bytes}"
