"""Which libraries there are: the folders in ``GPTOSS_MLX_HOME/library``."""

from __future__ import annotations

import difflib
import json
import os
import re
import secrets
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from gptoss_mlx.errors import (
    ConfigError,
    LibraryNotFoundError,
    StorageError,
    storage_errors,
)
from gptoss_mlx.files import expanded, lock_file, nearest_path, read_json_object
from gptoss_mlx.home import home, home_errors

__all__ = [
    "Root",
    "find",
    "folder_of",
    "known",
    "lock",
    "make",
    "names",
    "remove",
    "resolved",
    "roots_of",
    "save_roots",
    "with_labels",
]

_ROOTS = "library.json"
_LOCK = ".lock"
_REMOVED = ".removed-"
_MAX_CHARACTERS = 60
_NAME = re.compile(r"\w[\w .-]*")


class Root(NamedTuple):
    """A folder or file whose documents are in a library.

    Attributes:
        label: What the names of its documents begin with.
        path: Its resolved path.
    """

    label: str
    path: Path

    @property
    def is_archive(self) -> bool:
        """Whether it is a ZIM archive, which has an index of its own."""
        return self.path.suffix.lower() == ".zim" and not self.path.is_dir()


def libraries_folder() -> Path:
    """Return the folder of all libraries; it may not exist yet."""
    return home() / "library"


def folder_of(name: str) -> Path:
    """Return the folder of a library; it may not exist.

    Raises:
        LibraryNotFoundError: No library can have this name.
    """
    name = unicodedata.normalize("NFC", name)
    if len(name) > _MAX_CHARACTERS or not _NAME.fullmatch(name) or name[-1] in " .":
        raise LibraryNotFoundError(
            f"A library's name must have up to {_MAX_CHARACTERS} letters, digits and"
            f" inner spaces, dots, - and _, but is {name!r}.",
            hint="Name it otherwise: --name NAME",
        )
    return libraries_folder() / name


def names() -> list[str]:
    """Return the names of all libraries, sorted.

    Raises:
        StorageError: The folder cannot be listed.
    """
    folder = libraries_folder()
    with storage_errors(folder):
        if not folder.is_dir():
            return []
        found = [path.name for path in folder.iterdir() if (path / _ROOTS).is_file()]
    return sorted(name for name in found if not name.startswith("."))


def find(paths: Iterable[Path]) -> str | None:
    """Return the name of the library of exactly these resolved paths, if there is one.

    Raises:
        StorageError: The folder of the libraries cannot be listed.
    """
    wanted = set(paths)
    for name in names():
        # One that is damaged is not in the way of the others.
        with suppress(StorageError):
            if {root.path for root in roots_of(name)} == wanted:
                return name
    return None


def known(text: str) -> str:
    """Return the name of a library that a user names, where a path may stand too.

    Raises:
        LibraryNotFoundError: There is none. The hint is the nearest library, or file.
        StorageError: The folder of the libraries cannot be listed.
    """
    if text in (listed := names()):
        return text
    message = f"{text} is neither a library nor a file or folder."
    if close := difflib.get_close_matches(text, listed, n=1):
        raise LibraryNotFoundError(message, hint=f"Did you mean {close[0]}?")
    if (beside := nearest_path(text)) is not None:
        raise LibraryNotFoundError(message, hint=f"Did you mean {beside}?")
    raise LibraryNotFoundError(message)


def make(paths: Iterable[Path], name: str | None = None) -> str:
    """Make a library of resolved paths and return its name, or find it.

    Args:
        paths: What is in it.
        name: Its name. None: made of the first path's name.

    Raises:
        LibraryNotFoundError: No library can have this name.
        StorageError: The folder cannot be written.
    """
    paths = list(paths)
    # Without the lock too: a home that is read-only has none.
    if name is None and (found := find(paths)) is not None:
        return found
    with lock(libraries_folder()):
        _clean_up()
        if name is None:
            if (found := find(paths)) is not None:
                return found
            name = _free_name(_slug(paths[0].name))
        folder = folder_of(name)
        if not (folder / _ROOTS).exists():
            with storage_errors(folder):
                folder.mkdir(exist_ok=True)
            save_roots(name, with_labels(paths))
    return folder.name


def remove(name: str) -> None:
    """Remove a library and its index; the documents stay.

    Raises:
        LibraryNotFoundError: There is none of this name.
        StorageError: The system refused.
    """
    folder = folder_of(name)
    if name not in names():
        raise LibraryNotFoundError(f"There is no library {name!r}.")
    with lock(libraries_folder()):
        with storage_errors(folder):
            # Renamed first, so that a partly removed one is not listed.
            folder.rename(folder.with_name(f"{_REMOVED}{secrets.token_hex(4)}"))
        _clean_up()


def roots_of(name: str) -> tuple[Root, ...]:
    """Return what is in a library.

    Raises:
        LibraryNotFoundError: There is none of this name.
        StorageError: Its file cannot be read.
    """
    path = folder_of(name) / _ROOTS
    if not path.exists():
        raise LibraryNotFoundError(f"There is no library {name!r}.")
    try:
        stored = read_json_object(path)["roots"]
        return tuple(Root(str(each["label"]), Path(each["path"])) for each in stored)
    except (ConfigError, KeyError, TypeError) as error:
        raise StorageError(
            f"{path}: was damaged, or changed by another program.",
            hint=f"Remove the library: gptoss-mlx library remove {name}",
        ) from error


def save_roots(name: str, roots: Iterable[Root]) -> None:
    """Store what is in a library; a reader finds the old list or the new one.

    Raises:
        StorageError: The system refused.
    """
    path = folder_of(name) / _ROOTS
    listed = [{"label": root.label, "path": str(root.path)} for root in roots]
    new = path.with_name(f"{_ROOTS}.{secrets.token_hex(4)}")
    with home_errors(), storage_errors(path):
        # ASCII: a path may have bytes that are no UTF-8.
        new.write_text(json.dumps({"format": 1, "roots": listed}, indent=2))
        new.replace(path)


def with_labels(paths: Iterable[Path], before: Iterable[Root] = ()) -> tuple[Root, ...]:
    """Add paths to roots, each with a label that no other has."""
    roots = list(before)
    for path in paths:
        if any(root.path == path for root in roots):
            continue
        label = unicodedata.normalize("NFC", path.name) or "files"
        label = label.encode(errors="backslashreplace").decode()
        taken = {root.label for root in roots}
        number = 1
        while (numbered := label if number == 1 else f"{label}-{number}") in taken:
            number += 1
        roots.append(Root(numbered, path))
    return tuple(roots)


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return the path of an existing file or folder without links in it.

    Raises:
        StorageError: It does not exist, or cannot be listed.
    """
    given = expanded(os.fspath(path))
    with storage_errors(given):
        try:
            found = given.resolve(strict=True)
            if found.is_dir():
                os.scandir(found).close()
            return found
        except (ValueError, RuntimeError) as error:  # no file can have it; a loop
            raise StorageError(
                f"{given}: no file has such a name.", hint="Name another path."
            ) from error


@contextmanager
def lock(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other programs out of a folder, which is made if it is missing.

    Args:
        folder: A library's, or that of all.
        waiting: Called if another program is in it, before waiting for that.

    Raises:
        StorageError: The system refused.
    """
    with home_errors(), storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        with storage_errors(folder):
            try:
                lock_file(descriptor, wait=False)
            except BlockingIOError:
                waiting()
                lock_file(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def _clean_up() -> None:
    for path in libraries_folder().glob(f"{_REMOVED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _slug(name: str) -> str:
    name = unicodedata.normalize("NFC", name).encode(errors="replace").decode()
    slug = re.sub(r"[^\w.-]+", "-", name).strip(".-_")[:_MAX_CHARACTERS].rstrip(".-_")
    return slug or "library"


def _free_name(slug: str) -> str:
    taken = {name.casefold() for name in names()}
    number = 1
    while (name := slug if number == 1 else f"{slug[:50]}-{number}").casefold() in taken:
        number += 1
    return name
