"""The SQLite file of an index: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptoss_mlx.errors import NoSpaceError, StorageError, storage_errors
from gptoss_mlx.library.words import VERSION

__all__ = ["connect", "sqlite_errors"]

# Seconds that a writer waits for another: one large document takes minutes.
_BUSY_SECONDS = 300
_LAYOUT = 1
_APPLICATION = 0x67707473  # "gpts": an SQLite file of another program is left alone

_DAMAGED = "Delete it, and add the documents again."
_HINTS = {
    sqlite3.SQLITE_BUSY: "Wait until the other program is done, and run it again.",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
}

# SQLite 3.40 cannot delete from an FTS5 table without content by rowid, so that what is
# deleted from terms is given again. detail=none would lose the columns.
_TABLES = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    language TEXT NOT NULL
);
CREATE INDEX documents_language ON documents (language);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id),
    first_line INTEGER NOT NULL, last_line INTEGER NOT NULL, headings TEXT NOT NULL,
    page INTEGER, text BLOB NOT NULL
);
CREATE INDEX passages_document ON passages (document);
CREATE VIRTUAL TABLE terms USING fts5 (
    title, headings, words, parts, content = '',
    tokenize = "unicode61 remove_diacritics 0 categories 'L* N* M* Co'"
);
CREATE VIRTUAL TABLE term_counts USING fts5vocab ('terms', 'row');
CREATE TABLE vocabulary (id INTEGER PRIMARY KEY, term TEXT NOT NULL UNIQUE);
CREATE VIRTUAL TABLE trigrams USING fts5 (
    term, content = 'vocabulary', content_rowid = 'id', detail = none, columnsize = 0,
    tokenize = 'trigram'
);
CREATE TRIGGER vocabulary_added AFTER INSERT ON vocabulary BEGIN
    INSERT INTO trigrams (rowid, term) VALUES (new.id, new.term);
END;
"""


_TABLE_NAMES = (
    "term_counts",
    "trigrams",
    "terms",
    "vocabulary",
    "passages",
    "documents",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database of an index, or make one without documents.

    Raises:
        StorageError: The file cannot be opened, or is of another program.
    """
    with storage_errors(path), sqlite_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("PRAGMA cache_size = -16000")
            if _version(database) != _wanted():
                _make(database, path)
        except BaseException:
            database.close()
            raise
    return database


def _wanted() -> tuple[int, int]:
    return _APPLICATION, _LAYOUT * 1000 + VERSION


def _version(database: sqlite3.Connection) -> tuple[int, int]:
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return application, version


def _make(database: sqlite3.Connection, path: Path) -> None:
    # Two programs may come here at once: the second finds what the first has made.
    database.execute("BEGIN IMMEDIATE")
    if _version(database) != _wanted():
        tables = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"
        found = database.execute(tables).fetchall()
        if found and _version(database)[0] != _APPLICATION:
            database.rollback()
            raise StorageError(f"{path} is not an index.", hint="Name another path.")
        for name in _TABLE_NAMES:
            database.execute(f"DROP TABLE IF EXISTS {name}")
        for statement in _statements(_TABLES):
            database.execute(statement)
        application, version = _wanted()
        database.execute(f"PRAGMA application_id = {application}")
        database.execute(f"PRAGMA user_version = {version}")
    database.commit()


def _statements(script: str) -> Iterator[str]:
    # executescript would commit before it begins.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Raise an error of SQLite about ``path`` as a StorageError."""
    try:
        yield
    except sqlite3.Error as error:
        code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        message = f"{path}: {error}."
        if code == sqlite3.SQLITE_FULL:
            raise NoSpaceError(message) from error
        hint = _HINTS.get(code, "Name another path.")
        raise StorageError(message, hint=hint) from error
