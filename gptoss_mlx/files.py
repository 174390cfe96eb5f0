"""Look at files that somebody else wrote: nothing in them is believed. Sync our own.

Shared by all that reads config.json, an index or a manifest, or writes a model.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

from gptoss_mlx.errors import ConfigError, storage_errors

__all__ = ["has_file", "read_json_object", "short", "sync_file"]

# A checkpoint's JSON files are tens of kilobytes: more is not one of them.
MAX_JSON_BYTES = 64 << 20

# How disks that know no F_FULLFSYNC, on the network for instance, refuse it.
_NO_FULL_SYNC = (
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EBADF,
)


def short(value: Any) -> str:
    """Write a value from a file for a message: escaped, on one line, cut if long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Over 4,300 digits, or as many brackets.
        return "something very large"
    return text if len(text) <= 80 else f"{text[:77]}..."


def has_file(path: Path) -> bool:
    """Tell whether ``path`` is a file or a link to one.

    Where Path.is_file of Python 3.14 takes "access denied" for an absence, this raises.

    Raises:
        StorageError: The operating system does not let us know.
    """
    with storage_errors(path):
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False  # ValueError: no file can have such a name.


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file whose top level is an object.

    Raises:
        ConfigError: The file is no JSON object, or too large for one.
        StorageError: It cannot be read.
    """
    hint = f"Fetch {path.name} again from where the checkpoint came from."
    with storage_errors(path):
        status = path.stat()
        # Opening a pipe would wait for its other end.
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: must be a file but is none.", hint=hint)
        if status.st_size > MAX_JSON_BYTES:
            raise ConfigError(
                f"{path}: must have at most {MAX_JSON_BYTES:,} bytes "
                f"but has {status.st_size:,}.",
                hint=hint,
            )
        content = path.read_bytes()
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: must be JSON: {error}.", hint=hint) from error
    if not isinstance(value, dict):
        raise ConfigError(
            f"{path}: must be a JSON object but is {short(value)}.", hint=hint
        )
    return value


def sync_file(descriptor: int) -> None:
    """Bring what was written to an open file or folder safely to the disk.

    macOS's fsync leaves it in the drive's own cache, which a power cut empties.

    Raises:
        OSError: The disk refuses.

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
