"""Which model a conversation opens with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.demo import DEMO_SHA256, unpack_demo
from gptoss_mlx.errors import ConfigError, StorageError, storage_errors
from gptoss_mlx.files import read_json_object

__all__ = ["DEMO", "demo_folder", "model_folder"]

DEMO = "demo"

# convert notes its source's name in the manifest: that tells which demo a folder is.
SOURCE_PREFIX = "gptoss-mlx-demo-"
SOURCE = SOURCE_PREFIX + DEMO_SHA256[:16]


def model_folder(name: str, say: Callable[[str], None]) -> Path:
    """Find a model by name or path; make the demo model if that is asked for.

    Args:
        name: As for ``store.resolve``.
        say: Hears a line about anything that takes over a second.

    Raises:
        ModelNotFoundError: There is no such model.
        DataError: The demo model in the package was changed.
        StorageError: The demo model cannot be written.
    """
    return demo_folder(say) if name == DEMO else store.resolve(name)


def demo_folder(say: Callable[[str], None]) -> Path:
    """Return the demo model's folder; unpack and convert it if it is not there.

    A demo that an older version of the package made is replaced. A folder of that name
    which the package did not make is left alone, and used.

    Raises:
        DataError: The demo model in the package was changed.
        StorageError: The disk refused.
    """
    folder = store.models_folder() / DEMO
    with storage_errors(folder):
        if folder.exists() and not _is_stale(folder):
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
    from gptoss_mlx.convert import convert_checkpoint

    unpack_demo(scratch / SOURCE)
    convert_checkpoint(scratch / SOURCE, scratch / DEMO, recipe="exact")


def _move_into_place(scratch: Path, folder: Path) -> None:
    if folder.exists() and _is_stale(folder):
        folder.rename(scratch / "stale")
    try:
        (scratch / DEMO).rename(folder)
    except OSError:
        # Another process was quicker. What it made is as good.
        if not folder.is_dir() or _is_stale(folder):
            raise


def _is_stale(folder: Path) -> bool:
    """Tell whether an older version of the package made this demo."""
    path = folder / "manifest.json"
    try:
        source = read_json_object(path)["source"]["folder"]
    except (ConfigError, StorageError, KeyError, TypeError):
        return False
    return str(source).startswith(SOURCE_PREFIX) and source != SOURCE
