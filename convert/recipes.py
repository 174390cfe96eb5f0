"""Recipes: which modules are quantized, and to how many bits.

A recipe never covers the experts, which keep the released MXFP4 bytes, nor the
router, norms, sinks and biases, which stay as released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_mlx.config import Quantization
from gptoss_mlx.errors import ConvertError

__all__ = ["DEFAULT_RECIPE", "RECIPES", "Recipe", "find_recipe"]

# In order of preference: larger groups have fewer scales.
GROUP_SIZES = (64, 32)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The bits of a weight, by the last name of its module's path.

    Attributes:
        bits: Affine bits per value; modules that are not listed stay as released.
    """

    name: str
    summary: str
    bits: Mapping[str, int]

    def packing(self, module: str, columns: int) -> Quantization | None:
        """Return how ``module`` is quantized; None leaves it as released.

        Args:
            module: Path, e.g. ``model.layers.0.self_attn.q_proj``.
            columns: Columns of its weight. MLX quantizes only whole groups: if no group
                size divides them, the weight stays as released.
        """
        bits = self.bits.get(module.rpartition(".")[2])
        if bits is None:
            return None
        for group_size in GROUP_SIZES:
            if columns % group_size == 0:
                return Quantization(group_size, bits, "affine")
        return None


def _attention(bits: int) -> dict[str, int]:
    return dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), bits)


RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe("exact", "every tensor as released", {}),
        Recipe(
            "q8",
            "attention, embedding and lm_head in 8 bits",
            {**_attention(8), "embed_tokens": 8, "lm_head": 8},
        ),
    )
}
DEFAULT_RECIPE = "q8"


def find_recipe(name: str) -> Recipe:
    """Return the recipe with this name.

    Raises:
        ConvertError: The name is unknown.
    """
    if name not in RECIPES:
        raise ConvertError(f"A recipe must be one of {', '.join(RECIPES)} but is {name!r}.")
    return RECIPES[name]
