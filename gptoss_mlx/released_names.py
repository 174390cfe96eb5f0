"""The released models' names: ``20b``, a repository's id, and those of other programs."""

from __future__ import annotations

from gptoss_mlx.config import RELEASED
from gptoss_mlx.errors import ModelNotFoundError

__all__ = ["RECIPE_NAMES", "is_released_or_demo", "raise_if_released", "released_size"]

RECIPE_NAMES = ("q8", "exact", "q6", "small")
"""If several recipes match a short name, the first of these is chosen."""


def released_size(name: str) -> str | None:
    """Return the size that ``20b``, ``gpt-oss-20b`` or a repository's id names.

    So does Ollama's ``gpt-oss:20b``. Case is ignored. None: it does not name a released
    model.
    """
    for size in RELEASED:
        full = f"gpt-oss-{size}"
        if name.lower() in (size, full, f"gpt-oss:{size}", f"openai/{full}"):
            return size
    return None


def is_released_or_demo(name: str) -> bool:
    """Return whether this is a name that stands for a model on every machine."""
    return released_size(name) is not None or name == "demo"


def raise_if_released(name: str) -> None:
    """Refuse a model that is not on this machine but can be downloaded.

    Raises:
        ModelNotFoundError: It is a released model, or the name of its conversion.
    """
    start, _, recipe = name.rpartition("-")
    size = released_size(start if recipe in RECIPE_NAMES else name)
    if size is not None:
        option = f" --recipe {recipe}" if recipe in RECIPE_NAMES[1:] else ""
        raise ModelNotFoundError(
            f"{name} is not downloaded yet.", hint=f"gptoss-mlx download {size}{option}"
        )
