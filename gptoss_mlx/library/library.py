"""A library: folders and files that are indexed and searched together."""

from __future__ import annotations

import posixpath
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from os import PathLike, fspath
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from gptoss_mlx.errors import (
    DocumentNotFoundError,
    LibraryNotFoundError,
    StorageError,
)
from gptoss_mlx.files import expanded
from gptoss_mlx.library import catalog
from gptoss_mlx.library.archives import Archives, merged
from gptoss_mlx.library.catalog import Root
from gptoss_mlx.library.database import sqlite_errors
from gptoss_mlx.library.index import Hit, Index
from gptoss_mlx.library.text import Text
from gptoss_mlx.library.update import Progress, Update, update_index

__all__ = ["Figures", "Library"]

_INDEX = "index.db"
# What a link to a folder, or without a suffix, leads to.
_LINK_ENDS = ("", ".md", ".html", "/index.md", "/index.html", "/README.md")


class Figures(NamedTuple):
    """How much is in a library.

    Attributes:
        documents: Its documents.
        passages: Their passages, which a search finds.
        skipped: Files and folders that have no document.
        nbytes: Bytes of the documents' files.
        index_bytes: Bytes of the index.
        updated: When it was last updated, in seconds since 1970; None: never to the end.
    """

    documents: int
    passages: int
    skipped: int
    nbytes: int
    index_bytes: int
    updated: float | None


class Library:
    """Folders, files and ZIM archives that are searched together, offline.

    Its index is in ``GPTOSS_MLX_HOME/library``, and what is shown of a document is what was
    indexed. A document's name is the root's own name and the path in it: ``notes/a/b.md``.
    Threads may share a library; processes may use the same one.

    Attributes:
        name: Its name, which is that of its folder.
        path: Its folder.
    """

    def __init__(
        self,
        *paths: str | PathLike[str],
        name: str | None = None,
        update: bool = True,
        progress: Callable[[Progress], None] | None = None,
        say: Callable[[str], None] = lambda _: None,
        max_bytes: int = 1 << 30,
    ) -> None:
        """Open the library of these paths, or make it.

        Args:
            paths: Folders and files. With a name, they are added to that library.
            name: Of the library. None: the one of exactly these paths, or a new one.
            update: Whether to read what has changed since the last time.
            progress: Called with how far the update is.
            say: Called with what a person should know, in a line.
            max_bytes: The most bytes of a file that is read; larger ones are skipped.

        Raises:
            LibraryNotFoundError: No path is given, and there is none of this name.
            StorageError: A path does not exist, or the index cannot be read or written.
        """
        self._say = say
        self._max_bytes = max_bytes
        self._lock = RLock()
        self._is_closed = False
        roots = [catalog.resolved(path) for path in paths]
        if roots:
            self.name = catalog.make(roots, name)
        elif name is not None:
            self.name = name
            catalog.roots_of(name)
        else:
            raise LibraryNotFoundError(
                "A library must have a path or a name.",
                hint="Name a folder: gptoss-mlx library add FOLDER",
            )
        self.path = catalog.folder_of(self.name)
        self._index = Index(self.path / _INDEX)
        self._archives = Archives()
        self._roots = catalog.roots_of(self.name)
        try:
            if roots:
                self._add(roots)
            if update:
                self.update(progress=progress)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Library:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the index."""
        with self._lock:
            self._is_closed = True
            self._index.close()

    def __repr__(self) -> str:
        """Return the call that opens it."""
        return f"Library(name={self.name!r})"

    @property
    def roots(self) -> tuple[Path, ...]:
        """The resolved paths of what is in it."""
        return tuple(root.path for root in self._roots)

    def add(
        self,
        *paths: str | PathLike[str],
        progress: Callable[[Progress], None] | None = None,
    ) -> Update:
        """Add folders and files, and update.

        Raises:
            StorageError: A path does not exist, or the index cannot be written.
        """
        self._add([catalog.resolved(path) for path in paths])
        return self.update(progress=progress)

    def remove(
        self,
        *paths: str | PathLike[str],
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Remove folders and files, and update; they stay on the disk.

        Raises:
            LibraryNotFoundError: One is not in the library.
            StorageError: The index cannot be written.
        """
        unwanted = {self._root_of(path) for path in paths}
        with self._alone():
            roots = [r for r in self._look_again() if r.path not in unwanted]
            catalog.save_roots(self.name, roots)
        self.update(progress=progress)

    def update(self, *, progress: Callable[[Progress], None] | None = None) -> Update:
        """Read the files that have changed, and remove those that are gone.

        Waits for another program that updates the library. One that was stopped continues.

        Raises:
            StorageError: The index cannot be written.
        """
        with self._alone(), Index(self.path / _INDEX) as index:
            roots = self._look_again()
            done = update_index(index, roots, progress=progress, max_bytes=self._max_bytes)
        for path, reason in done.missing.items():
            self._say(f"{path} {reason}. What was read of it earlier is kept.")
        return done

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Return the passages that best answer ``query``, the best first.

        Raises:
            StorageError: The index is damaged.
        """
        with self._reading():
            if self._index.files.updated() is None:
                self._say(f"{self.name} was not read to its end: gptoss-mlx library update")
            found = self._index.search(query, limit)
            archives = self._archives.search(self._look_again(), query, limit)
        return merged([found, *archives], limit)

    def text(self, name: str) -> Text:
        """Return a document as it was indexed.

        Raises:
            DocumentNotFoundError: There is none of this name.
            StorageError: The index is damaged.
        """
        with self._reading():
            if (found := self._archives.find(self._roots, name)) is not None:
                archive, inside = found
                return archive.text(inside)
            return self._index.text(name)

    def path_of(self, name: str) -> Path:
        """Return where a document's file is, or was when it was indexed.

        Raises:
            DocumentNotFoundError: There is none of this name.
        """
        with self._reading():
            found = self._index.files.named(name)
        label, path = found or (name.split("/", 1)[0], "")
        for root in self._roots:
            if root.label == label and (found is not None or root.is_archive):
                return root.path / path if path else root.path
        raise DocumentNotFoundError(f"{name}: is not in the library.")

    def linked(self, name: str, target: str) -> str | None:
        """Return the document in this library that a link leads to, or None.

        Args:
            name: Of the document with the link.
            target: As written there.
        """
        try:
            parts = urlsplit(target)
        except ValueError:
            return None
        if parts.scheme or parts.netloc:
            return None
        if not parts.path:
            return name if self._has(name) else None
        label, _, inside = name.partition("/")
        for root in self._roots:
            if root.label == label:
                break
        else:
            return None
        folder = posixpath.dirname(f"{root.path}/{inside}" if inside else str(root.path))
        base = str(root.path) if parts.path.startswith("/") else folder
        for path in dict.fromkeys((unquote(parts.path), parts.path)):
            place = posixpath.normpath(f"{base}/{path}")
            for end in _LINK_ENDS:
                found = self._name_at(place + end)
                if found is not None and self._has(found):
                    return found
        return None

    def names(self) -> list[str]:
        """Return the names of all documents, sorted, but those in ZIM archives."""
        with self._reading():
            return self._index.names()

    def skipped(self) -> list[tuple[Path, str]]:
        """Return the files and folders that have no document, and why."""
        paths = {root.label: root.path for root in self._roots}
        with self._reading():
            return [
                (paths[label] / path if path else paths[label], reason)
                for label, path, reason in self._index.files.skipped()
                if label in paths
            ]

    def figures(self) -> Figures:
        """Return how much is in it. What is in ZIM archives is not counted.

        Raises:
            StorageError: The index is damaged.
        """
        with self._reading():
            files = self._index.files
            return Figures(
                documents=self._index.document_count(),
                passages=self._index.passage_count(),
                skipped=len(files.skipped()),
                nbytes=files.nbytes(),
                index_bytes=sum(
                    path.stat().st_size for path in self.path.glob(f"{_INDEX}*")
                ),
                updated=files.updated(),
            )

    def _has(self, name: str) -> bool:
        with self._reading():
            if (found := self._archives.find(self._roots, name)) is not None:
                archive, inside = found
                return archive.has(inside)
            return self._index.has(name)

    def _name_at(self, place: str) -> str | None:
        # Return the name of a document at a path, which is not looked up on the disk.
        place = unicodedata.normalize("NFC", place)
        for root in sorted(self._roots, key=lambda root: -len(str(root.path))):
            path = unicodedata.normalize("NFC", str(root.path)).rstrip("/")
            if place == path:
                return root.label
            if place.startswith(f"{path}/"):
                return f"{root.label}/{place[len(path) + 1 :]}"
        return None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, sqlite_errors(self.path / _INDEX):
            if self._is_closed:
                hint = f"Open it again: {self!r}"
                raise StorageError(f"The library {self.name} was closed.", hint=hint)
            yield

    def _look_again(self) -> tuple[Root, ...]:
        # Another program may have added one.
        self._roots = catalog.roots_of(self.name)
        return self._roots

    def _add(self, paths: Iterable[Path]) -> None:
        roots = self._look_again()
        if {root.path for root in roots}.issuperset(paths := list(paths)):
            return
        with self._alone():
            roots = catalog.with_labels(paths, self._look_again())
            catalog.save_roots(self.name, roots)

    def _root_of(self, path: str | PathLike[str]) -> Path:
        given = expanded(fspath(path))
        roots = self.roots
        for root in (given.absolute(), given.resolve()):
            if root in roots:
                return root
        listed = ", ".join(str(root) for root in roots)
        raise LibraryNotFoundError(
            f"{given} is not in the library {self.name}.", hint=f"Name one of: {listed}"
        )

    def _alone(self) -> AbstractContextManager[None]:
        return catalog.lock(
            self.path,
            lambda: self._say("Waiting for another program that updates this library."),
        )
