"""Chooses the model of a conversation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.first_load import verify_before_load
from gptoss_mlx.demo.folder import DEMO, open_demo
from gptoss_mlx.device import Machine, this_machine
from gptoss_mlx.errors import DownloadError, ModelNotFoundError
from gptoss_mlx.files import short
from gptoss_mlx.model.plan import Plan, best_place, plan_of
from gptoss_mlx.released_names import released_size

__all__ = [
    "best_model",
    "open_model",
    "plan_for",
]


def open_model(
    name_or_path: str | os.PathLike[str] | None, say: Callable[[str], None]
) -> Checkpoint:
    """Find a model and open it; make the demo model if it is needed.

    Args:
        name_or_path: As in ``store.resolve``; a released model that is not in the store,
            and ``USER/REPO``, is opened from the Hugging Face cache. None: the best
            released model that is here and runs on this machine, or the demo model.
        say: Called with a line about anything that takes over a second, and with the reason
            if the demo model opens without being named.

    Raises:
        ModelNotFoundError: The name is unknown.
        CheckpointError: The model cannot be used; see ``open_checkpoint``.
        VerifyError: It was converted elsewhere, and differs from its manifest.
        ConfigError: Its config.json is wrong.
        DataError: The demo model in the package was changed.
        StorageError: The model cannot be read, or the demo model cannot be written.
        ValueError: It is neither a name nor a path.
    """
    if name_or_path is None:
        model, reason = best_model(this_machine())
        if model is not None:
            return _open(model.path, say)
        say(reason)
        return open_demo(say)
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise ValueError(
            f"[load] name_or_path must be a model's name or folder but got "
            f"{short(name_or_path)}."
        )
    if os.fspath(name_or_path) == DEMO:
        return open_demo(say)
    try:
        folder = store.resolve(name_or_path)
    except ModelNotFoundError:
        folder = _cached(os.fspath(name_or_path))
        say(f"{name_or_path} is read from the Hugging Face cache: {folder}")
    return _open(folder, say)


def _open(folder: Path, say: Callable[[str], None]) -> Checkpoint:
    # What was converted elsewhere may have been damaged on its way.
    verify_before_load(folder, say)
    return open_checkpoint(folder)


def _cached(name: str) -> Path:
    """Return the folder of a model in the Hugging Face cache.

    Raises:
        ModelNotFoundError: There is none of that name, here or in the store.
    """
    # Imported here: a model in the store is opened without it.
    from gptoss_mlx.sharing.cached_models import find_model
    from gptoss_mlx.sharing.download import find_downloaded

    size = released_size(name)
    released = find_downloaded(size) if size is not None else None
    return find_model(name) if released is None else released


def best_model(machine: Machine) -> tuple[store.StoredModel | None, str]:
    """Choose the best released model in the store for a machine.

    It is the best that fits; if none does, the smallest that runs with streamed experts.
    If the store has none, those in the Hugging Face cache that run as they are.

    Returns:
        The model; or None, and the reason for the demo model, in a sentence or two.

    Raises:
        StorageError: The store cannot be listed.
    """
    here = store.released_models() or store.released_models(_cached_models())
    plans = [plan_for(one.size or "", one.recipe or "exact", machine) for one in here]
    place = best_place(plans)
    if place is not None:
        return here[place], ""
    if not here:
        reason = "No gpt-oss model is downloaded yet: gptoss-mlx download 20b."
    else:
        needed = plans[-1].footprint.total_bytes
        reason = (
            f"{here[-1].name} needs {needed / 1e9:.1f} GB, and a program may use "
            f"{machine.limit_bytes / 1e9:.1f} GB here: too little even for a part of its "
            "experts."
        )
    return None, f"{reason} Using the built-in demo model."


def _cached_models() -> list[store.StoredModel]:
    # Imported here: where the store has a model, nothing else is looked at.
    from gptoss_mlx.sharing.cached_models import cached_models

    try:
        return cached_models()
    except DownloadError:  # no cache, as the environment sets it up
        return []


def plan_for(size: str, recipe: str, machine: Machine) -> Plan:
    """Plan how a released model runs on a machine.

    Args:
        size: ``20b`` or ``120b``.
        recipe: An unknown recipe counts as ``exact``, which needs the most.
        machine: The machine to run on.
    """
    # Imported here: it loads the whole conversion, which the demo model does not need.
    from gptoss_mlx.convert.recipes import RECIPES

    packing = RECIPES.get(recipe, RECIPES["exact"]).packing
    return plan_of(RELEASED[size], packing, machine)
