"""The kind of a disk's file system, and the largest file that it takes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["file_system", "max_file_bytes"]

MOUNT = "/sbin/mount"
MOUNT_S = 10.0
MOUNT_INFO = Path("/proc/self/mountinfo")

# As macOS and Linux call FAT12, FAT16 and FAT32. exFAT is another one.
_FAT = ("msdos", "vfat")
FAT_BYTES = (1 << 32) - 1

_MOUNTED = re.compile(r".* on (/.*) \(([^,)]+)[^()]*\)")


def max_file_bytes(folder: Path) -> int | None:
    """Return the most bytes of a file on ``folder``'s disk; None if no limit is known."""
    return FAT_BYTES if file_system(folder) in _FAT else None


def file_system(folder: Path) -> str | None:
    """Return the type of ``folder``'s file system as the system calls it, e.g. ``apfs``.

    Returns:
        None if it cannot be found out.
    """
    try:
        if sys.platform == "darwin":
            return _in_mount_output(_mount_output(), os.path.realpath(folder))
        return _in_mount_info(MOUNT_INFO.read_bytes(), folder.stat().st_dev)
    except (OSError, subprocess.SubprocessError):
        return None


def _mount_output() -> str:
    done = subprocess.run(  # noqa: S603 - the system's own
        [MOUNT], stdin=subprocess.DEVNULL, capture_output=True, timeout=MOUNT_S, check=True
    )
    return os.fsdecode(done.stdout)


def _in_mount_output(output: str, path: str) -> str | None:
    """Find a path's disk in what macOS's mount prints: ``DEVICE on PLACE (TYPE, …)``."""
    best, kind = "", None
    for line in output.splitlines():
        found = _MOUNTED.fullmatch(line)
        if found is None:
            continue
        place = found[1]
        inside = path == place or path.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(best):
            best, kind = place, found[2]
    return kind


def _in_mount_info(content: bytes, device: int) -> str | None:
    """Find a device in Linux's mountinfo.

    Source: https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in content.decode(errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 2 and fields[2] == wanted and after:
            return after.split(" ")[0]
    return None
