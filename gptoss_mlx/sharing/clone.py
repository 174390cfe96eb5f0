"""Clones files: a second file that shares the first one's blocks until one is changed.

APFS, Btrfs and XFS can, within one disk.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from pathlib import Path

__all__ = ["clone_file"]

# _IOW(0x94, 9, int) in linux/fs.h; MIPS, PowerPC and SPARC have another.
_FICLONE = 0x40049409
# In macOS's sys/fcntl.h.
_AT_FDCWD = -2

# What a system answers that cannot clone between these two files.
_CANNOT = (
    errno.EBADF,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.ENOTTY,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.ETXTBSY,
    errno.EXDEV,
)


def clone_file(descriptor: int, target: Path) -> bool:
    """Clone an open file to ``target``, which must not exist.

    Returns:
        False if the file system cannot; ``target`` does not exist then.

    Raises:
        OSError: The system refuses for another reason.
    """
    try:
        if sys.platform == "darwin":
            _clone_on_macos(descriptor, target)
        else:
            _clone_on_linux(descriptor, target)
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise
    return True


def _clone_on_linux(descriptor: int, target: Path) -> None:
    copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        fcntl.ioctl(copy, _FICLONE, descriptor)
    except OSError:
        target.unlink()
        raise
    finally:
        os.close(copy)


def _clone_on_macos(descriptor: int, target: Path) -> None:
    """Call fclonefileat(2)."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "fclonefileat", None)
    if function is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(target))
    path = os.fsencode(target.absolute())
    if function(descriptor, _AT_FDCWD, ctypes.c_char_p(path), ctypes.c_uint32(0)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))
