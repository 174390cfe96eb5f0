"""Functions of macOS: Time Machine, and sleep."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["awake", "exclude_from_backups", "free_space_hint"]

TMUTIL, CAFFEINATE = "/usr/bin/tmutil", "/usr/bin/caffeinate"
TMUTIL_S = 10.0


def exclude_from_backups(folder: Path) -> bool:
    """Exclude a folder and its contents from Time Machine; elsewhere do nothing.

    The mark is an extended attribute: it needs no rights, and moves with the folder.

    Returns:
        Whether the folder is excluded now.
    """
    if not _is_macos():
        return False
    try:
        done = subprocess.run(  # noqa: S603 - the system's own
            [TMUTIL, "addexclusion", str(folder)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TMUTIL_S,
            check=False,
        )
    except (FileNotFoundError, PermissionError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def awake() -> Iterator[None]:
    """Keep the Mac awake until the context ends; elsewhere do nothing."""
    child = _caffeinate() if _is_macos() else None
    try:
        yield
    finally:
        if child is not None:
            child.terminate()
            child.wait()


def free_space_hint(hint: str) -> str:
    """Add to a hint about a full disk that macOS has space it does not count as free."""
    if not _is_macos():
        return hint
    return f"{hint} Purgeable space, which Finder calls available, may not be counted."


def _caffeinate() -> subprocess.Popen[bytes] | None:
    # -w: it ends with this process, even if this is killed.
    command = [CAFFEINATE, "-i", "-w", str(os.getpid())]
    null = subprocess.DEVNULL
    try:
        return subprocess.Popen(  # noqa: S603 - the system's own
            command, stdin=null, stdout=null, stderr=null
        )
    except (FileNotFoundError, PermissionError):
        return None


def _is_macos() -> bool:
    return sys.platform == "darwin"
