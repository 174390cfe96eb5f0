"""Which files an index was made of, and in what state they were."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

from gptoss_mlx.library.database import storable

__all__ = ["StoredFile", "StoredFiles"]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file or folder of a root, as it was found last.

    Attributes:
        path: Within the root; empty for the root itself.
        state: Changes when the file does. Empty: it is to be read again.
        nbytes: Its size.
        name: Of its document; None if it has none.
        reason: Why it has none.
    """

    path: str
    state: str
    nbytes: int
    name: str | None
    reason: str | None = None


class StoredFiles:
    """The files in the tables of an index, all within the caller's transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Use the tables of ``database``."""
        self._database = database

    def of(self, label: str) -> Iterator[StoredFile]:
        """Return the files of a root, in order of their paths."""
        rows = self._database.execute(
            "SELECT path, state, nbytes, name, reason FROM files WHERE root = ?"
            " ORDER BY path",
            (label,),
        )
        for path, *rest in rows.fetchall():
            yield StoredFile(os.fsdecode(path), *rest)

    def put(self, label: str, file: StoredFile) -> None:
        """Store a file in place of the one at its path."""
        self._database.execute(
            "INSERT OR REPLACE INTO files (root, path, state, nbytes, name, reason)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                label,
                os.fsencode(file.path),
                file.state,
                file.nbytes,
                file.name,
                file.reason,
            ),
        )

    def remove(self, label: str, path: str) -> None:
        """Remove the file at a path of a root."""
        self._database.execute(
            "DELETE FROM files WHERE root = ? AND path = ?", (label, os.fsencode(path))
        )

    def named(self, name: str) -> tuple[str, str] | None:
        """Return the root's label and the path of a document's file."""
        found = self._database.execute(
            "SELECT root, path FROM files WHERE name = ?", (storable(name),)
        ).fetchone()
        return None if found is None else (found[0], os.fsdecode(found[1]))

    def skipped(self) -> list[tuple[str, str, str]]:
        """Return label, path and reason of what has no document."""
        rows = self._database.execute(
            "SELECT root, path, reason FROM files WHERE reason IS NOT NULL"
            " ORDER BY root, path"
        )
        return [(label, os.fsdecode(path), reason) for label, path, reason in rows]

    def labels(self) -> set[str]:
        """Return the labels of all roots with files."""
        rows = self._database.execute("SELECT DISTINCT root FROM files")
        return {label for (label,) in rows}

    def nbytes(self) -> int:
        """Return the size of all files with a document."""
        (nbytes,) = self._database.execute(
            "SELECT coalesce(sum(nbytes), 0) FROM files WHERE name IS NOT NULL"
        ).fetchone()
        return int(nbytes)

    def device(self, label: str) -> str | None:
        """Return the disk that a root was on; None if it was never updated."""
        found = self._database.execute(
            "SELECT device FROM roots WHERE label = ?", (label,)
        ).fetchone()
        return None if found is None else str(found[0])

    def updated(self) -> float | None:
        """Return the time of the last whole update, in seconds since 1970, or None."""
        (updated,) = self._database.execute("SELECT max(updated) FROM roots").fetchone()
        return None if updated is None else float(updated)

    def finish(self, label: str, device: str) -> None:
        """Store that a root was updated now, and its disk."""
        self._database.execute(
            "INSERT OR REPLACE INTO roots (label, device, updated) VALUES (?, ?, ?)",
            (label, device, time.time()),
        )

    def forget(self, label: str) -> None:
        """Remove all that is stored of a root and its files."""
        self._database.execute("DELETE FROM files WHERE root = ?", (label,))
        self._database.execute("DELETE FROM roots WHERE label = ?", (label,))
