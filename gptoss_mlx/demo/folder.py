"""The demo model's folder in the store; it is unpacked and converted if missing."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.demo.chat_template import CHAT_TEMPLATE
from gptoss_mlx.demo.package import DEMO_SHA256, unpack_demo
from gptoss_mlx.errors import (
    CheckpointError,
    ConfigError,
    GptOssError,
    StorageError,
    VerifyError,
    storage_errors,
)
from gptoss_mlx.files import lock_file
from gptoss_mlx.home import home_errors
from gptoss_mlx.manifest import read_summary

__all__ = ["DEMO", "open_demo"]

DEMO = "demo"

# The manifest has the name of convert's source, which identifies the demo's version.
SOURCE_PREFIX = "gptoss-mlx-demo-"
SOURCE = (
    SOURCE_PREFIX + hashlib.sha256((DEMO_SHA256 + CHAT_TEMPLATE).encode()).hexdigest()[:16]
)

# What is being made, and what a process that was killed has left of it.
SCRATCH_PREFIX = ".demo-"
LOCK = ".demo.lock"


def open_demo(say: Callable[[str], None], parent: Path | None = None) -> Checkpoint:
    """Open the demo model; unpack and convert it first if it is missing.

    A demo that an older version of the package made, or that was damaged, is
    replaced. A folder of that name from another source is left alone.

    Args:
        say: Called with a line before it is made.
        parent: The folder that it is in, or will be. None: the store's.

    Raises:
        DataError: The demo model in the package was changed.
        CheckpointError: The folder is not the package's, and cannot be used.
        StorageError: The system refused.
    """
    folder = (parent or store.models_folder()) / DEMO
    with storage_errors(folder):
        if (checkpoint := _open_there(folder)) is not None:
            # A store that cannot be written, or is being, has its demo model all the same.
            with suppress(OSError):
                _clean_up(folder.parent)
            return checkpoint
    say("Unpacking the demo model, which takes a few seconds once.")
    with home_errors(), storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(folder.parent, wait=True):
            _remove_leftovers(folder.parent)
            # Another process may have made it in the meantime.
            if (checkpoint := _open_there(folder)) is not None:
                return checkpoint
            # On the same disk, so that the finished model is moved in one step.
            with tempfile.TemporaryDirectory(
                prefix=SCRATCH_PREFIX, dir=folder.parent
            ) as scratch:
                _build(Path(scratch))
                _move_into_place(Path(scratch), folder)
    return open_checkpoint(folder)


@contextmanager
def _alone_in(parent: Path, *, wait: bool) -> Iterator[None]:
    """Let no other process make the demo model in ``parent``.

    Raises:
        BlockingIOError: Another one does, and we do not wait.
    """
    descriptor = _lock(parent / LOCK, wait=wait)
    try:
        yield
    finally:
        (parent / LOCK).unlink()
        os.close(descriptor)


def _lock(path: Path, *, wait: bool) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            lock_file(descriptor, wait=wait)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass  # The one that had it locked has removed it.
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _clean_up(parent: Path) -> None:
    if (parent / LOCK).exists() or any(parent.glob(f"{SCRATCH_PREFIX}*")):
        with _alone_in(parent, wait=False):
            _remove_leftovers(parent)


def _remove_leftovers(parent: Path) -> None:
    for path in parent.glob(f"{SCRATCH_PREFIX}*"):
        shutil.rmtree(path)


def _build(scratch: Path) -> None:
    # Imported here: an existing demo needs no conversion.
    from gptoss_mlx.convert.pipeline import convert_checkpoint

    unpack_demo(scratch / SOURCE)
    convert_checkpoint(scratch / SOURCE, scratch / DEMO, recipe="exact")


def _move_into_place(scratch: Path, folder: Path) -> None:
    if folder.exists() and _open_there(folder) is None:
        folder.rename(scratch / "stale")
    try:
        (scratch / DEMO).rename(folder)
    except OSError:
        # Another process was faster; its model is equal.
        if _open_there(folder) is None:
            raise


def _open_there(folder: Path) -> Checkpoint | None:
    """Open the folder if it is there.

    Returns:
        None if it is missing, or was made by the package and cannot be used any more.

    Raises:
        GptOssError: The package did not make it, and it cannot be opened.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    made_from = _made_from(folder)
    ours = made_from.startswith(SOURCE_PREFIX)
    if ours and made_from != SOURCE:
        return None
    try:
        return open_checkpoint(folder)
    except GptOssError as error:
        if ours:
            return None
        if isinstance(error, CheckpointError | ConfigError):
            error.hint = (
                f"Move that folder away, and the demo model is made again: {folder}"
            )
        raise


def _made_from(folder: Path) -> str:
    try:
        summary = read_summary(folder)
    except (VerifyError, StorageError):
        return ""
    return summary.folder or "" if summary else ""
