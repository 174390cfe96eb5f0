"""The folder of an unfinished conversion: ``DST.partial``.

A lock keeps two conversions from writing it at once; see also ``journal``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gptoss_mlx.errors import (
    ConvertError,
    DestinationExistsError,
    GptOssError,
    storage_errors,
)
from gptoss_mlx.files import has_file, lock_file
from gptoss_mlx.manifest import MANIFEST

from .journal import DRAFT, JOURNAL, LOCK
from .writer import sync_folder

__all__ = ["claim_partial", "clear_finished", "finish_partial", "partial_of"]


def partial_of(destination: Path) -> Path:
    """Return the folder in which ``destination`` is written."""
    return destination.with_name(f"{destination.name}.partial")


@contextmanager
def claim_partial(destination: Path) -> Iterator[Path]:
    """Create ``destination``'s partial folder, or continue an earlier run's.

    Until the context ends it is locked, except on a disk without locks. If it ends with an
    error before any file was written, the folder is removed.

    Raises:
        ConvertError: Another process is writing it, or it is not a conversion's folder.
        DestinationExistsError: Another process has just finished ``destination``.
        StorageError: The folder cannot be made.
    """
    partial = partial_of(destination)
    with storage_errors(partial):
        descriptor = _lock(partial)
    try:
        with storage_errors(partial):
            # The disk may have filled up before more than the journal's draft was written.
            found = {path.name for path in partial.iterdir()} - {LOCK, DRAFT}
            if os.path.lexists(destination):
                if not found:
                    shutil.rmtree(partial)
                raise DestinationExistsError(f"{destination} already exists.")
        if found and JOURNAL not in found:
            (partial / LOCK).unlink()
            raise ConvertError(
                f"{partial} is not from an earlier conversion: it has no journal.",
                hint="Move that folder away, or choose another destination.",
            )
        try:
            yield partial
        except GptOssError:
            _remove_if_unused(partial)
            raise
    finally:
        os.close(descriptor)


def _remove_if_unused(partial: Path) -> None:
    """Remove a folder that has the journal and the lock alone."""
    with suppress(OSError):  # the disk may be gone
        if {path.name for path in partial.iterdir()} <= {LOCK, DRAFT, JOURNAL}:
            shutil.rmtree(partial)


def finish_partial(partial: Path, destination: Path) -> None:
    """Rename a complete folder to ``destination``.

    Raises:
        DestinationExistsError: The destination was created in the meantime.
        StorageError: The system refuses.
    """
    with storage_errors(destination):
        sync_folder(partial)
        if os.path.lexists(destination):
            raise DestinationExistsError(f"{destination} already exists.")
        partial.rename(destination)
        # Removed last: without the journal no run could continue after a crash.
        (destination / JOURNAL).unlink()
        (destination / LOCK).unlink()
        sync_folder(destination.parent)


def clear_finished(destination: Path) -> None:
    """Remove what a run has left in ``destination`` that was killed after its rename.

    Nothing is removed from a folder that no conversion has written.

    Raises:
        StorageError: The disk refuses.
    """
    lock = destination / LOCK
    with storage_errors(destination):
        # Path.is_dir raises at a circle of links.
        if not os.path.isdir(destination) or not has_file(lock):  # noqa: PTH112
            return
        if lock.stat().st_size or not has_file(destination / MANIFEST):
            return
        descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW)
        try:
            lock_file(descriptor, wait=False)
            (destination / JOURNAL).unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # That run is about to do it.
        finally:
            os.close(descriptor)


def _lock(partial: Path) -> int:
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(
                partial / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644
            )
        except FileNotFoundError:  # another process has just finished and renamed it
            continue
        try:
            lock_file(descriptor, wait=False)
            if os.path.samestat(os.fstat(descriptor), (partial / LOCK).stat()):
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise ConvertError(
                f"{partial} is being written by another process.",
                hint="Wait until it is done, or choose another destination.",
            ) from error
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
