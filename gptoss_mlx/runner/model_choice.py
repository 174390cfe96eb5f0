"""Which model a conversation opens with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.checkpoint import open_checkpoint
from gptoss_mlx.config import RELEASED
from gptoss_mlx.demo import DEMO_SHA256, unpack_demo
from gptoss_mlx.errors import (
    CheckpointError,
    ConfigError,
    GptOssError,
    StorageError,
    storage_errors,
)
from gptoss_mlx.files import read_json_object
from gptoss_mlx.memory.device import compute_dtype, memory_limit_bytes
from gptoss_mlx.memory.plan import Plan, make_plan

__all__ = [
    "CONTEXT_TOKENS",
    "DEMO",
    "best_model",
    "demo_folder",
    "model_folder",
    "plan_for",
]

DEMO = "demo"

CONTEXT_TOKENS = 8_192
"""The conversation that must fit with a model for it to be chosen unasked."""

# convert notes its source's name in the manifest: that tells which demo a folder is.
SOURCE_PREFIX = "gptoss-mlx-demo-"
SOURCE = SOURCE_PREFIX + DEMO_SHA256[:16]


def model_folder(
    name_or_path: str | os.PathLike[str] | None, say: Callable[[str], None]
) -> Path:
    """Find a model; make the demo model if that is asked for.

    Args:
        name_or_path: As for ``store.resolve``. None: the best of the released models that
            is in the store and fits this machine, and else the demo model.
        say: Hears a line about anything that takes over a second, and why it is the demo
            model that opens where none was named.

    Raises:
        ModelNotFoundError: There is no such model.
        DataError: The demo model in the package was changed.
        StorageError: The demo model cannot be written.
    """
    if name_or_path is None:
        model, reason = best_model()
        if model is not None:
            return model.path
        say(f"{reason} The demo model answers, a miniature.")
        return demo_folder(say)
    name = os.fspath(name_or_path)
    return demo_folder(say) if name == DEMO else store.resolve(name)


def best_model() -> tuple[store.StoredModel | None, str]:
    """Choose the best released model in the store that fits this machine.

    Returns:
        The model, or None and the reason in a sentence or two.

    Raises:
        StorageError: The store cannot be listed.
    """
    here = store.released_models()
    for model in here:
        if plan_for(model.size or "", model.recipe or "exact").fits:
            return model, ""
    if not here:
        return None, "No gpt-oss model is here yet: gptoss-mlx download 20b."
    smallest = here[-1]
    plan = plan_for(smallest.size or "", smallest.recipe or "exact")
    return None, (
        f"{smallest.name} needs {plan.total_bytes / 1e9:.1f} GB, and a program may use "
        f"{plan.limit_bytes / 1e9:.1f} GB here: to try it all the same, name it."
    )


def plan_for(size: str, recipe: str) -> Plan:
    """Plan a conversation of CONTEXT_TOKENS with a released model on this machine.

    Args:
        size: ``20b`` or ``120b``.
        recipe: One that is unknown counts as ``exact``, which needs the most.
    """
    # Imported here: it brings the whole conversion, which the demo model does not need.
    from gptoss_mlx.convert.recipes import RECIPES

    packing = RECIPES.get(recipe, RECIPES["exact"]).packing
    return make_plan(
        RELEASED[size],
        packing,
        context_tokens=CONTEXT_TOKENS,
        limit_bytes=memory_limit_bytes(),
        value_bytes=compute_dtype().size,
    )


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
    from gptoss_mlx.convert import convert_checkpoint

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
