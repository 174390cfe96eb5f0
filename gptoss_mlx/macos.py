"""Functions of macOS: Time Machine, sleep, and permissions on the network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "awake",
    "exclude_from_backups",
    "firewall_hint",
    "free_space_hint",
    "local_network_hint",
]

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


def local_network_hint(hint: str, reason: str = "No route to host") -> str:
    """Add to a hint about an unreachable machine that macOS 15 may forbid the network.

    Args:
        hint: The hint.
        reason: The system's words; a refusal looks like ``No route to host``.
    """
    if not _is_macos() or "no route to host" not in reason.lower():
        return hint
    return (
        "Allow your terminal in System Settings > Privacy & Security > Local Network: "
        f"macOS may have refused the connection. {hint}"
    )


def firewall_hint() -> str:
    """Return what macOS may ask about a server; empty elsewhere."""
    if not _is_macos():
        return ""
    return (
        "If macOS asks whether Python may accept incoming connections or find devices on "
        "the local network, allow it."
    )


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
