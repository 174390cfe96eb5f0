"""Which files a root has, and which of them are skipped."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.library.ignored import GITIGNORE, IgnoreRules, rules_of
from gptoss_mlx.library.reading import PLACEHOLDER, is_placeholder

__all__ = ["Found", "reason_of", "walk"]

# What programs keep for themselves. Nobody would look for it in a list of what is skipped.
_UNSEEN = {
    ".DS_Store",
    ".DocumentRevisions-V100",
    ".Spotlight-V100",
    ".TemporaryItems",
    ".Trashes",
    ".fseventsd",
    ".git",
    ".hg",
    ".localized",
    ".svn",
    "Icon\r",
    "Thumbs.db",
    "__pycache__",
    "desktop.ini",
}

# Folders that a Mac shows as one file.
_PACKAGES = {
    ".aplibrary": "a photo library",
    ".app": "a program",
    ".backupdb": "a backup",
    ".band": "a GarageBand project",
    ".bundle": "a bundle of a program",
    ".dsym": "a bundle of a program",
    ".fcpbundle": "a Final Cut library",
    ".framework": "a framework of a program",
    ".imovielibrary": "an iMovie library",
    ".kext": "a system extension",
    ".key": "Keynote is not supported yet",
    ".logicx": "a Logic project",
    ".musiclibrary": "a music library",
    ".numbers": "Numbers is not supported yet",
    ".pages": "Pages is not supported yet",
    ".photoslibrary": "a photo library",
    ".rtfd": "RTFD is not supported yet",
    ".sparsebundle": "a disk image",
    ".tvlibrary": "a TV library",
    ".xcarchive": "an archive of Xcode",
    ".xcodeproj": "a project of Xcode",
    ".xcworkspace": "a workspace of Xcode",
}

_KINDS = {
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a root, or what is skipped.

    Attributes:
        path: Within the root, with "/"; empty for the root itself.
        state: Changes when the file does. Empty: it is not known.
        nbytes: Its size.
        reason: Why it is not read; None if it may be.
        keep: Whether what was read there earlier is still valid: it only cannot be
            reached now.
    """

    path: str
    state: str = ""
    nbytes: int = 0
    reason: str | None = None
    keep: bool = False


def walk(root: Path, without: Collection[Path] = ()) -> Iterator[Found]:
    """Find the files of a root, those of each folder in order of their names.

    No link is followed: what it leads to is found at its own place, or is not of the root.

    Args:
        root: A folder or file, without links in its path.
        without: Paths of other roots, which are left out.

    Raises:
        OSError: The root itself cannot be reached or listed.
    """
    status = root.stat()
    if not stat.S_ISDIR(status.st_mode):
        yield _file("", status)
        return
    os.listdir(root)  # noqa: PTH208 - an error here is the root's
    folders: list[tuple[Path, str, IgnoreRules | None]] = [(root, "", None)]
    while folders:
        folder, within, rules = folders.pop()
        below = []
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Found(within[:-1], reason=reason_of(error), keep=True)
            continue
        if any(entry.name == GITIGNORE for entry in entries):
            rules = rules_of(folder, within, rules)
        for entry in entries:
            path = folder / entry.name
            found, is_folder = _look_at(entry, path, within, root)
            if found is None or path in without:
                continue
            if rules is not None and rules.ignore(found.path + "/" * is_folder):
                continue
            if is_folder and found.reason is None:
                below.append((path, f"{found.path}/", rules))
            else:
                yield found
        folders += reversed(below)


def reason_of(error: OSError) -> str:
    """Return why something cannot be read, in a few words."""
    if error.errno == errno.EPERM and sys.platform == "darwin":
        return "macOS forbids it: allow your terminal Full Disk Access"
    return f"cannot be read: {(error.strerror or str(error)).lower()}"


def _look_at(
    entry: os.DirEntry[str], path: Path, within: str, root: Path
) -> tuple[Found | None, bool]:
    # Return what is there, or None if that is no news; and whether it is a folder.
    name = entry.name
    if name in _UNSEEN or name.startswith("._"):
        return None, False
    inside = f"{within}{name}"
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None, False
    except OSError as error:
        return Found(inside, reason=reason_of(error), keep=True), False
    if stat.S_ISLNK(status.st_mode):
        return _link(path, inside, root), False
    if not stat.S_ISDIR(status.st_mode):
        if name.startswith("~$"):
            return Found(inside, reason="an Office lock file"), False
        return _file(inside, status), False
    if is_placeholder(name, status):
        return Found(inside, reason=PLACEHOLDER, keep=True), True
    return Found(inside, reason=_PACKAGES.get(path.suffix.lower())), True


def _link(path: Path, inside: str, root: Path) -> Found | None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return Found(inside, reason="a link that leads nowhere")
    if target == root or root in target.parents:
        return None
    return Found(inside, reason="a link that leads out of the folder")


def _file(inside: str, status: os.stat_result) -> Found:
    if (kind := _KINDS.get(stat.S_IFMT(status.st_mode))) is not None:
        return Found(inside, reason=kind)
    state = _state(status)
    if is_placeholder(inside.rpartition("/")[2], status):
        return Found(inside, state, status.st_size, PLACEHOLDER, keep=True)
    return Found(inside, state, status.st_size)


def _state(status: os.stat_result) -> str:
    # Without the device: a disk may have another number after each start.
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
