"""Recipes: which weights are quantized, and to how many bits.

A recipe never covers the experts, which keep the released MXFP4 bytes, nor the
router, norms, sinks and biases, which stay as released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gptoss_mlx.config import Quantization
from gptoss_mlx.errors import ConvertError

__all__ = [
    "AS_RELEASED",
    "DEFAULT_RECIPE",
    "GROUP_SIZES",
    "RECIPES",
    "ChooseRecipe",
    "Format",
    "Recipe",
    "default_recipe",
    "is_dense",
    "recipe_named",
]

# In order of preference: larger groups have fewer scales.
GROUP_SIZES = (64, 32)

_DENSE = ("q_proj", "k_proj", "v_proj", "o_proj", "embed_tokens", "lm_head")
_ATTENTION = "*.self_attn.*_proj"


@dataclass(frozen=True, slots=True)
class Format:
    """How a weight is stored.

    Attributes:
        bits: Affine bits per value; None keeps the released bytes.
        group_size: Values per scale. None: 64, or 32 where 64 does not divide the columns.
    """

    bits: int | None
    group_size: int | None = None


AS_RELEASED = Format(None)


def is_dense(module: str) -> bool:
    """Whether a recipe may quantize a module: attention, embedding or lm_head."""
    return module.rpartition(".")[2] in _DENSE


@dataclass(frozen=True, slots=True)
class Recipe:
    """The format of each weight, by the path of its module.

    Attributes:
        name: Its name, which ends the names of the folders that are made with it.
        summary: What it does, in a few words.
        formats: Patterns of paths, e.g. ``*.self_attn.*``. The last one that matches holds;
            a weight that none matches stays as released.
    """

    name: str
    summary: str
    formats: Mapping[str, Format]

    def pattern_of(self, module: str) -> str | None:
        """Return the pattern that decides about a module; None if none does."""
        if not is_dense(module):
            return None
        matching = (name for name in self.formats if fnmatchcase(module, name))
        return max(matching, key=list(self.formats).index, default=None)

    def packing(self, module: str, columns: int) -> Quantization | None:
        """Return how ``module`` is quantized; None leaves it as released.

        Args:
            module: Path, e.g. ``model.layers.0.self_attn.q_proj``.
            columns: Columns of its weight. MLX quantizes only whole groups: if no group
                size divides them, the weight stays as released.
        """
        pattern = self.pattern_of(module)
        chosen = AS_RELEASED if pattern is None else self.formats[pattern]
        if chosen.bits is None:
            return None
        sizes: Iterable[int] = (chosen.group_size,) if chosen.group_size else GROUP_SIZES
        for group_size in sizes:
            if columns % group_size == 0:
                return Quantization(group_size, chosen.bits, "affine")
        return None


def _recipe(name: str, summary: str, attention: int, lm_head: int, embed: int) -> Recipe:
    formats = {_ATTENTION: attention, "lm_head": lm_head, "*.embed_tokens": embed}
    return Recipe(name, summary, {path: Format(bits) for path, bits in formats.items()})


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("exact", "every tensor as released", {}),
        _recipe("q8", "attention, embedding and lm_head in 8 bits", 8, 8, 8),
        _recipe("q6", "attention, embedding and lm_head in 6 bits", 6, 6, 6),
        _recipe("small", "attention in 8 bits, lm_head in 6, embedding in 4", 8, 6, 4),
    )
}
DEFAULT_RECIPE = "q8"

ChooseRecipe = Callable[[str | None], tuple[str, str]]
"""Chooses a recipe by the model's size: ``20b``, ``120b``, or None for another one.

It returns the recipe's name, and the reason in a line, which may be empty.
"""


def default_recipe(size: str | None) -> tuple[str, str]:
    """Choose the recipe that suits most machines, as ``ChooseRecipe``."""
    return DEFAULT_RECIPE, ""


def recipe_named(name: str) -> Recipe:
    """Return the recipe with this name.

    Raises:
        ConvertError: The name is unknown.
    """
    if name not in RECIPES:
        raise ConvertError(
            f"A recipe must be one of {', '.join(RECIPES)} or a TOML file but is {name!r}."
        )
    return RECIPES[name]
