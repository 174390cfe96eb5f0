"""Which converted folders were verified on this machine, so that none is verified twice.

A record is a file of ``GPTOSS_MLX_HOME/verified``. Its name stands for the manifest and for
the state of every file that the manifest lists, and it holds the folder's path: a folder
that was changed has no record, and one that was renamed still has its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from gptoss_mlx.errors import GptOssError
from gptoss_mlx.files import has_file
from gptoss_mlx.home import home
from gptoss_mlx.manifest import MANIFEST, read_summary
from gptoss_mlx.manifest_digest import MANIFEST_SHA256, digest_of

__all__ = ["has_manifest", "is_verified", "record_verified", "state_of"]

VERIFIED = "verified"


def has_manifest(folder: Path) -> bool:
    """Whether a folder was converted by gptoss-mlx, here or elsewhere.

    Raises:
        StorageError: The operating system does not allow a look.
    """
    return has_file(folder / MANIFEST) or has_file(folder / MANIFEST_SHA256)


def state_of(folder: Path) -> str | None:
    """Return what changes if a file of a converted folder changes; no weight is read.

    Returns:
        None if the manifest, or a file that it lists, cannot be found or read.
    """
    try:
        digest = digest_of(folder)
        summary = read_summary(folder)
        if summary is None:
            return None
        names = [*summary.files, MANIFEST, MANIFEST_SHA256]
        state = [(name, _identity(folder / name)) for name in sorted(names)]
    except (GptOssError, OSError, ValueError):
        return None
    return hashlib.sha256(json.dumps([digest, state]).encode()).hexdigest()


def is_verified(folder: Path) -> bool:
    """Whether every byte of a converted folder was checked here, and is unchanged.

    It was converted or fetched here, or ``verify`` has passed, and no file was written or
    replaced since. False also if the records cannot be read.
    """
    state = state_of(folder)
    if state is None:
        return False
    try:
        return has_file(_record(state))
    except GptOssError:
        return False


def record_verified(folder: Path, state: str | None) -> None:
    """Record that every byte of a folder was checked, if it is as it was before the check.

    Where the record cannot be written, nothing is done: the folder is verified again.

    Args:
        folder: The folder.
        state: What ``state_of`` has returned before the check.
    """
    if state is None or state_of(folder) != state:
        return
    path = os.path.realpath(folder)
    with suppress(GptOssError, OSError, ValueError):
        record = _record(state)
        record.parent.mkdir(parents=True, exist_ok=True)
        for other in record.parent.iterdir():
            if other != record and other.read_bytes() == os.fsencode(path):
                other.unlink(missing_ok=True)
        draft = record.with_name(f".{secrets.token_hex(8)}")
        draft.write_bytes(os.fsencode(path))
        draft.replace(record)


def _record(state: str) -> Path:
    return home() / VERIFIED / state


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        if path.name == MANIFEST_SHA256:  # which format 1 does not have
            return None
        raise
    # Without the device: a disk gets another number each time it is connected. A copy on
    # another disk may keep all but the time of its own making, the last one.
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
