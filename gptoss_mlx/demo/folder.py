"""The demo model's folder in the store, unpacked and converted where it is not there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.demo.package import DEMO_SHA256, unpack_demo
from gptoss_mlx.errors import (
    CheckpointError,
    ConfigError,
    GptOssError,
    StorageError,
    storage_errors,
)
from gptoss_mlx.files import read_json_object

__all__ = ["DEMO", "demo_folder"]

DEMO = "demo"

# convert notes its source's name in the manifest: that tells which demo a folder is.
SOURCE_PREFIX = "gptoss-mlx-demo-"
SOURCE = SOURCE_PREFIX + DEMO_SHA256[:16]


def demo_folder(say: Callable[[str], None]) -> Path:
    """Return the demo model's folder; unpack and convert it if it is not there.

    A demo that an older version of the package made, or that was damaged since, is
    replaced. A folder of that name which the package did not make is left alone.

    Raises:
        DataError: The demo model in the package was changed.
        CheckpointError: The folder is not the package's, and cannot be used.
        StorageError: The disk refused.
    """
    folder = store.models_folder() / DEMO
    with storage_errors(folder):
        if folder.exists() and not _is_replaceable(folder):
            _check_foreign(folder)
            return folder
        say("Unpacking the demo model, which takes a few seconds once.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        # On the same disk, so that a finished model moves into place at once.
        with tempfile.TemporaryDirectory(prefix=".demo-", dir=folder.parent) as scratch:
            _build(Path(scratch))
            _move_into_place(Path(scratch), folder)
    return folder


def _build(scratch: Path) -> None:
    # Imported here: a demo that is there needs no conversion.
    from gptoss_mlx.convert.pipeline import convert_checkpoint

    unpack_demo(scratch / SOURCE)
    convert_checkpoint(scratch / SOURCE, scratch / DEMO, recipe="exact")


def _move_into_place(scratch: Path, folder: Path) -> None:
    if folder.exists() and _is_replaceable(folder):
        folder.rename(scratch / "stale")
    try:
        (scratch / DEMO).rename(folder)
    except OSError:
        # Another process was quicker. What it made is as good.
        if not folder.is_dir() or _is_replaceable(folder):
            raise


def _is_replaceable(folder: Path) -> bool:
    """Tell whether the package made this folder, and can no longer use it."""
    if folder.is_dir() and not any(folder.iterdir()):
        return True
    try:
        source = str(read_json_object(folder / "manifest.json")["source"]["folder"])
    except (ConfigError, StorageError, KeyError, TypeError):
        return False
    if not source.startswith(SOURCE_PREFIX):
        return False
    return source != SOURCE or not _opens(folder)


def _opens(folder: Path) -> bool:
    try:
        open_checkpoint(folder)
    except GptOssError:
        return False
    return True


def _check_foreign(folder: Path) -> None:
    try:
        open_checkpoint(folder)
    except (CheckpointError, ConfigError) as error:
        error.hint = f"Move that folder away, and the demo model is made again: {folder}"
        raise
