"""Chooses the model of a conversation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.config import RELEASED
from gptoss_mlx.demo.folder import DEMO, open_demo
from gptoss_mlx.device import Machine, this_machine
from gptoss_mlx.errors import ModelNotFoundError
from gptoss_mlx.files import short
from gptoss_mlx.model.footprint import Footprint, footprint_of
from gptoss_mlx.model.memory import raised_limit_mb
from gptoss_mlx.released_names import released_size

__all__ = [
    "CONTEXT_TOKENS",
    "best_model",
    "open_model",
    "plan_for",
]

CONTEXT_TOKENS = 8_192
"""The conversation that must fit beside a model chosen automatically."""


def open_model(
    name_or_path: str | os.PathLike[str] | None, say: Callable[[str], None]
) -> Checkpoint:
    """Find a model and open it; make the demo model if it is needed.

    Args:
        name_or_path: As in ``store.resolve``; a released model that is not in the store is
            opened from the Hugging Face cache. None: the best released model that is in
            the store and fits this machine, or the demo model.
        say: Called with a line about anything that takes over a second, and with the reason
            if the demo model opens without being named.

    Raises:
        ModelNotFoundError: The name is unknown.
        CheckpointError: The model cannot be used; see ``open_checkpoint``.
        ConfigError: Its config.json is wrong.
        DataError: The demo model in the package was changed.
        StorageError: The model cannot be read, or the demo model cannot be written.
        ValueError: It is neither a name nor a path.
    """
    if name_or_path is None:
        model, reason = best_model(this_machine())
        if model is not None:
            return open_checkpoint(model.path)
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
        return open_checkpoint(store.resolve(name_or_path))
    except ModelNotFoundError:
        folder = _downloaded(os.fspath(name_or_path))
        if folder is None:
            raise
        say(f"{name_or_path} is read from the Hugging Face cache: {folder}")
        return open_checkpoint(folder)


def _downloaded(name: str) -> Path | None:
    """Return the released files of a model that is not converted, if they are here."""
    # Imported here: a model in the store is opened without it.
    from gptoss_mlx.sharing.download import find_downloaded

    size = released_size(name)
    return find_downloaded(size) if size is not None else None


def best_model(machine: Machine) -> tuple[store.StoredModel | None, str]:
    """Choose the best released model in the store that fits a machine.

    Returns:
        The model; or None, and the reason for the demo model, in a sentence or two.

    Raises:
        StorageError: The store cannot be listed.
    """
    here = store.released_models()
    for model in here:
        if plan_for(model.size or "", model.recipe or "exact", machine).fits:
            return model, ""
    if not here:
        reason = "No gpt-oss model is downloaded yet: gptoss-mlx download 20b."
    else:
        smallest = here[-1]
        plan = plan_for(smallest.size or "", smallest.recipe or "exact", machine)
        reason = (
            f"{smallest.name} needs {plan.total_bytes / 1e9:.1f} GB, and a program may use "
            f"{plan.limit_bytes / 1e9:.1f} GB here. To load it anyway, name it."
        )
        mb = raised_limit_mb(machine, plan.total_bytes)
        if mb is not None:
            reason += f" It fits after: sudo sysctl iogpu.wired_limit_mb={mb}."
    return None, f"{reason} Using the built-in demo model."


def plan_for(size: str, recipe: str, machine: Machine) -> Footprint:
    """Estimate the memory of a released model with CONTEXT_TOKENS on a machine.

    Args:
        size: ``20b`` or ``120b``.
        recipe: An unknown recipe counts as ``exact``, which needs the most.
        machine: The machine to run on.
    """
    # Imported here: it loads the whole conversion, which the demo model does not need.
    from gptoss_mlx.convert.recipes import RECIPES

    return footprint_of(
        RELEASED[size],
        RECIPES.get(recipe, RECIPES["exact"]).packing,
        machine,
        context_tokens=CONTEXT_TOKENS,
    )
