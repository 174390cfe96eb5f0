"""Chooses the recipe of a released model for a machine."""

from __future__ import annotations

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import DEFAULT_RECIPE, RECIPES
from gptoss_mlx.device import Machine, this_machine
from gptoss_mlx.model.footprint import footprint_of
from gptoss_mlx.model.memory import settings_for
from gptoss_mlx.model.plan import CONTEXT_TOKENS, Plan, plan_of

__all__ = ["recipe_for", "recipe_here"]

SMALL = "small"

# The smaller recipe costs some quality. Where neither fits, it is chosen if it keeps so
# many times as many experts in memory; where the limit has to be raised for both, if it
# needs so small a part of the other's. That is so for 20b, not for 120b.
WORTHWHILE = 1.1
WORTHWHILE_LIMIT = 0.98


def recipe_here(size: str | None) -> tuple[str, str]:
    """Choose a recipe for this machine, as ``ChooseRecipe``.

    Raises:
        DeviceError: There is no device.
    """
    if size is None:
        return DEFAULT_RECIPE, ""
    return recipe_for(size, this_machine())


def recipe_for(size: str, machine: Machine) -> tuple[str, str]:
    """Choose a recipe for a released model.

    It is ``q8`` if that fits with the machine's own settings. Otherwise it is ``small`` if
    that fits, or if it streams far fewer experts or needs a far lower limit.

    Args:
        size: ``20b`` or ``120b``.
        machine: The machine to run on.

    Returns:
        The recipe's name, and the reason in a line.
    """
    config = RELEASED[size]
    packing = RECIPES[DEFAULT_RECIPE].packing
    usual = footprint_of(
        config,
        packing,
        machine,
        context_tokens=CONTEXT_TOKENS,
        settings=next(settings_for(machine)),
    )
    needs = f"needs {usual.total_bytes / 1e9:.1f} GB"
    limit = f"a program may use {machine.limit_bytes / 1e9:.1f} GB here"
    if usual.fits:
        return DEFAULT_RECIPE, f"Recipe {DEFAULT_RECIPE}: it {needs}, and {limit}."
    large, small = (
        plan_of(config, RECIPES[name].packing, machine) for name in (DEFAULT_RECIPE, SMALL)
    )
    name = SMALL if _is_better(small, large) else DEFAULT_RECIPE
    other = f"{DEFAULT_RECIPE} {needs}" if name == SMALL else f"it {needs}"
    return name, f"Recipe {name}: {other}, and {limit}{_how(small, large, name)}."


def _is_better(small: Plan, large: Plan) -> bool:
    if small.fits or not large.slots:
        return True
    if small.raised_mb is None:
        return small.slots >= WORTHWHILE * large.slots
    if large.raised_mb is None:
        return True
    return small.raised_mb <= WORTHWHILE_LIMIT * large.raised_mb


def _how(small: Plan, large: Plan, name: str) -> str:
    """Say how the chosen one runs, unless it fits."""
    plan = small if name == SMALL else large
    match plan.verdict:
        case "fits":
            return ""
        case "raise":
            return f". It fits after: sudo sysctl iogpu.wired_limit_mb={plan.raised_mb}"
        case "stream":
            return f". It keeps {100 * plan.resident_fraction:.0f} % of the experts there"
        case _:
            return ". Not even a part of the experts fits"
