"""Reads files from elsewhere without trusting them, and syncs our own to disk.

Used by all modules that read config.json, an index or a manifest, or write a model.
"""

from __future__ import annotations

import difflib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from gptoss_mlx.errors import ConfigError, StorageError, WrongFileError, storage_errors

__all__ = [
    "LFS_HINT",
    "MAX_JSON_BYTES",
    "FileIdentity",
    "check_exists",
    "expanded",
    "has_file",
    "is_there",
    "lock_file",
    "nearest_path",
    "open_file",
    "parse_json",
    "read_file",
    "read_json_object",
    "short",
    "sync_file",
]

# A checkpoint's JSON takes tens of kB, and Python needs up to 30 times as much memory.
MAX_JSON_BYTES = 8 << 20

# A clone without Git LFS has small text files instead, with this beginning.
LFS_POINTER = b"version https://git-lfs"
LFS_HINT = "Fetch the file itself: git lfs pull"

# The errors of network disks without locks.
_NO_LOCKS = (
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOLCK,
    errno.ENOSYS,
    errno.EINVAL,
)

# The errors of disks that do not support F_FULLFSYNC, for instance on the network.
_NO_FULL_SYNC = (
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EBADF,
)


class FileIdentity(NamedTuple):
    """Identifies a file and its state, without reading it."""

    device: int
    inode: int
    nbytes: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileIdentity:
        """Make it from the operating system's file status."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def expanded(path: str) -> Path:
    """Replace a leading ~; for an unknown user, it stays as it is.

    Raises:
        StorageError: The path is empty. To Path it would be the current folder, where a
            shell's variable without a value was meant.
    """
    if not path:
        raise StorageError("A path must not be empty.", hint="Name a file or folder.")
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises then


def is_there(path: str) -> bool:
    """Whether a path, as a user types it, leads to a file or folder.

    Raises:
        StorageError: It is empty.
    """
    try:
        return expanded(path).exists()
    except (OSError, ValueError):  # it cannot be reached; no file can have this name
        return False


def check_exists(path: str, what: str) -> None:
    """Check that there is a file that a user has named.

    Args:
        path: As it was typed.
        what: What it must be, e.g. ``file or folder``.

    Raises:
        StorageError: It is empty or not there. The hint is the nearest one beside it.
        NoPermissionError: The folder may not be looked into.
    """
    given = expanded(path)
    # ValueError: no file can have this name. What may not be looked at is another error.
    with (
        storage_errors(given),
        suppress(FileNotFoundError, NotADirectoryError, ValueError),
    ):
        given.lstat()
        return
    hint = "Check the name and the folder."
    if (beside := nearest_path(path)) is not None:
        hint = f"Did you mean {beside}?"
    raise StorageError(f"{path}: there is no such {what}.", hint=hint)


def nearest_path(path: str) -> Path | None:
    """Return the path of a file with nearly the same name, in the same folder."""
    given = expanded(path)
    try:
        beside = [each.name for each in given.parent.iterdir()]
    except (OSError, ValueError):
        return None
    close = difflib.get_close_matches(given.name, beside, n=1)
    return Path(path).with_name(close[0]) if close else None


def short(value: Any) -> str:
    """Write a value from a file for a message: escaped, on one line, and cut if long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # over 4,300 digits, or as many brackets
        return "something very large"
    return text if len(text) <= 80 else f"{text[:77]}..."


def has_file(path: Path) -> bool:
    """Whether ``path`` is a file or a link to one.

    Path.is_file of Python 3.14 returns False if access is denied; this raises.

    Raises:
        StorageError: The operating system does not allow a look.
    """
    with storage_errors(path):
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False  # ValueError: no file can have this name


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to read it. It never waits, and the file has an end.

    Raises:
        WrongFileError: It is a folder, a pipe or a device.
        StorageError: It cannot be opened, or read within the context.
    """
    wrong = WrongFileError(f"{path}: is not a file.")
    with storage_errors(path):
        # Opening a pipe would wait for its other end, and a device may react.
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise wrong
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except ValueError as error:
            raise StorageError(f"{short(str(path))}: no file has such a name.") from error
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            # It may have been replaced since the check.
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise wrong
            yield file


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Read a whole small file.

    Args:
        path: Path of the file.
        max_bytes: The most bytes that a file of its kind has.

    Raises:
        WrongFileError: It is not a file, has more bytes, or is a Git LFS pointer.
        StorageError: It cannot be read.
    """
    with open_file(path) as file:
        nbytes = os.fstat(file.fileno()).st_size
        # A file may have more bytes than its status reports, like those of /proc.
        content = file.read(min(nbytes, max_bytes) + 1)
        if len(content) <= nbytes <= max_bytes:
            if content.startswith(LFS_POINTER):
                raise WrongFileError(
                    f"{path}: is a Git LFS pointer, not the file itself.",
                    hint=LFS_HINT,
                )
            return content
    found = f"has {nbytes:,}" if nbytes > max_bytes else "grows while it is read"
    raise WrongFileError(f"{path}: must have at most {max_bytes:,} bytes but {found}.")


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file whose top level is an object.

    Raises:
        ConfigError: The file is not a JSON object, or too large.
        StorageError: The file cannot be read.
    """
    try:
        content = read_file(path, max_bytes=MAX_JSON_BYTES)
        value = parse_json(content)
    except WrongFileError as error:
        hint = LFS_HINT if error.hint == LFS_HINT else _fetch(path)
        raise ConfigError(str(error), hint=hint) from error
    except ValueError as error:
        raise ConfigError(f"{path}: must be JSON: {error}.", hint=_fetch(path)) from error
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path}: must be a JSON object but is {short(value)}.", hint=_fetch(path)
        )
    return value


def parse_json(content: str | bytes) -> Any:
    """Parse JSON of any form.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or a number has too many digits.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # Python's limit of 4,300
        raise ValueError("a number has too many digits") from error


def _fetch(path: Path) -> str:
    return f"Download {path.name} again from the checkpoint's source."


def lock_file(descriptor: int, *, wait: bool) -> None:
    """Lock an open file until it is closed. On a disk without locks, nothing is done.

    Args:
        descriptor: The file's.
        wait: Whether to wait for another process that has it locked.

    Raises:
        BlockingIOError: Another process has it locked.
        OSError: The disk refuses.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def sync_file(descriptor: int) -> None:
    """Sync an open file or folder to the disk.

    macOS's fsync leaves it in the drive's own cache, which a power cut empties.

    Raises:
        OSError: The system refuses.

    Source: https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/fsync.2.html
    """
    full_sync: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        try:
            fcntl.fcntl(descriptor, full_sync)
            return
        except OSError as error:
            if error.errno not in _NO_FULL_SYNC:
                raise
    os.fsync(descriptor)
