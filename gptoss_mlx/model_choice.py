"""Which model a conversation opens with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.config import RELEASED
from gptoss_mlx.demo.folder import DEMO, demo_folder
from gptoss_mlx.device import compute_dtype, memory_limit_bytes
from gptoss_mlx.model.footprint import Footprint, footprint_of

__all__ = [
    "CONTEXT_TOKENS",
    "best_model",
    "model_folder",
    "plan_for",
]

CONTEXT_TOKENS = 8_192
"""The conversation that must fit with a model for it to be chosen unasked."""


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


def plan_for(size: str, recipe: str) -> Footprint:
    """Plan a conversation of CONTEXT_TOKENS with a released model on this machine.

    Args:
        size: ``20b`` or ``120b``.
        recipe: One that is unknown counts as ``exact``, which needs the most.
    """
    # Imported here: it brings the whole conversion, which the demo model does not need.
    from gptoss_mlx.convert.recipes import RECIPES

    return footprint_of(
        RELEASED[size],
        RECIPES.get(recipe, RECIPES["exact"]).packing,
        context_tokens=CONTEXT_TOKENS,
        limit_bytes=memory_limit_bytes(),
        value_bytes=compute_dtype().size,
    )
