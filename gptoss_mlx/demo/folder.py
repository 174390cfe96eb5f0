"""The demo model's folder in the store; it is unpacked and converted if missing."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
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
from gptoss_mlx.manifest import read_summary

__all__ = ["DEMO", "open_demo"]

DEMO = "demo"

# The manifest has the name of convert's source, which identifies the demo's version.
SOURCE_PREFIX = "gptoss-mlx-demo-"
SOURCE = (
    SOURCE_PREFIX + hashlib.sha256((DEMO_SHA256 + CHAT_TEMPLATE).encode()).hexdigest()[:16]
)


def open_demo(say: Callable[[str], None]) -> Checkpoint:
    """Open the demo model; unpack and convert it first if it is missing.

    A demo that an older version of the package made, or that was damaged, is
    replaced. A folder of that name from another source is left alone.

    Raises:
        DataError: The demo model in the package was changed.
        CheckpointError: The folder is not the package's, and cannot be used.
        StorageError: The system refused.
    """
    folder = store.models_folder() / DEMO
    with storage_errors(folder):
        if (checkpoint := _open_there(folder)) is not None:
            return checkpoint
        say("Unpacking the demo model, which takes a few seconds once.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # On the same disk, so that the finished model is moved in one step.
        with tempfile.TemporaryDirectory(prefix=".demo-", dir=folder.parent) as scratch:
            _build(Path(scratch))
            _move_into_place(Path(scratch), folder)
    return open_checkpoint(folder)


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
