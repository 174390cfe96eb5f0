"""The SQLite file of an index: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gptoss_mlx.errors import NoSpaceError, StorageError, storage_errors
from gptoss_mlx.library.words import VERSION

__all__ = ["connect", "sqlite_errors", "storable"]

# Seconds that a writer waits for another: one large document takes minutes.
_BUSY_SECONDS = 300
_PAUSE_SECONDS = 0.02
_LAYOUT = 2
_APPLICATION = 0x67707473  # "gpts": an SQLite file of another program is left alone

# The index of a library is in a folder of the library's name.
_DAMAGED = "Remove the library, and add its documents again: gptoss-mlx library remove {}"
_READ_ONLY = "Change the permissions, or name another folder: export GPTOSS_MLX_HOME=FOLDER"
_HINTS = {
    sqlite3.SQLITE_BUSY: "Wait until the other program is done, and run it again.",
    sqlite3.SQLITE_CANTOPEN: _READ_ONLY,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
}

# SQLite 3.40 cannot delete from an FTS5 table without content by rowid, so that what is
# deleted from terms is given again. detail=none would lose the columns.
_TABLES = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL,
    language TEXT NOT NULL, layout BLOB NOT NULL
);
CREATE INDEX documents_language ON documents (language);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (id),
    first_line INTEGER NOT NULL, last_line INTEGER NOT NULL, headings TEXT NOT NULL,
    page INTEGER, text BLOB NOT NULL
);
CREATE INDEX passages_document ON passages (document);
CREATE TABLE files (
    root TEXT NOT NULL, path BLOB NOT NULL, state TEXT NOT NULL, nbytes INTEGER NOT NULL,
    name TEXT, reason TEXT, PRIMARY KEY (root, path)
) WITHOUT ROWID;
CREATE INDEX files_name ON files (name);
CREATE TABLE roots (label TEXT PRIMARY KEY, device TEXT NOT NULL, updated REAL NOT NULL);
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
CREATE TRIGGER vocabulary_removed AFTER DELETE ON vocabulary BEGIN
    INSERT INTO trigrams (trigrams, rowid, term) VALUES ('delete', old.id, old.term);
END;
"""


_TABLE_NAMES = (
    "term_counts",
    "trigrams",
    "terms",
    "vocabulary",
    "passages",
    "documents",
    "files",
    "roots",
)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database of an index, or make one without documents.

    One that cannot be written, as on a read-only disk, can be read.

    Raises:
        StorageError: The file cannot be opened, or is of another program.
    """
    with storage_errors(path), sqlite_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _opened(path, path, _prepare)
        except sqlite3.OperationalError as error:
            may_be_read = _code(error) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
            if not (may_be_read and path.exists()):
                raise
        # Without a -wal file, which SQLite would have to make beside it, nobody writes it.
        has_wal = path.with_name(f"{path.name}-wal").exists()
        mode = "?mode=ro" if has_wal else "?immutable=1"
        return _opened(f"{path.absolute().as_uri()}{mode}", path, _check)


def _opened(
    place: Path | str, path: Path, prepare: Callable[[sqlite3.Connection, Path], None]
) -> sqlite3.Connection:
    database = sqlite3.connect(
        place,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=isinstance(place, str),
    )
    try:
        prepare(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    _use_wal(database)
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute("PRAGMA cache_size = -16000")
    if _version(database) != _wanted():
        _make(database, path)


def _use_wal(database: sqlite3.Connection) -> None:
    """Set the journal mode, or wait while another program sets it.

    SQLite does not wait by itself here, whatever the connection's timeout is.
    """
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            database.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(_PAUSE_SECONDS)


def _check(database: sqlite3.Connection, path: Path) -> None:
    if _version(database) != _wanted():
        raise StorageError(
            f"{path}: is of another version, and cannot be written.", hint=_READ_ONLY
        )


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
        code = _code(error)
        message = f"{path}: {error}."
        if code == sqlite3.SQLITE_FULL:
            raise NoSpaceError(message) from error
        hint = _HINTS.get(code, "Name another path.").format(path.parent.name)
        raise StorageError(message, hint=hint) from error


def _code(error: sqlite3.Error) -> int:
    # The primary code, without what extends it.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def storable(text: str) -> str:
    """Return a text that SQLite can hold: bytes of a name that are no UTF-8 as escapes."""
    return text.encode(errors="backslashreplace").decode()
