"""Recipes: which modules are quantized, to how many bits.

A recipe says nothing of the experts, which stay the released MXFP4 bytes, nor of the
router, norms, sinks and biases, which stay as released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_mlx.config import Quantization
from gptoss_mlx.errors import ConvertError

__all__ = ["DEFAULT_RECIPE", "RECIPES", "Recipe", "find_recipe"]

# In order of preference: the larger the group, the fewer the scales.
GROUP_SIZES = (64, 32)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How many bits a weight gets, by the last name of its module's path.

    Attributes:
        bits: Affine bits a value; a module that is not named stays as released.
    """

    name: str
    summary: str
    bits: Mapping[str, int]

    def packing(self, module: str, columns: int) -> Quantization | None:
        """Say how ``module`` is quantized; None leaves it as released.

        Args:
            module: Path, e.g. ``model.layers.0.self_attn.q_proj``.
            columns: Of its weight. MLX quantizes whole groups only: where neither group
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
    """Return the recipe of that name.

    Raises:
        ConvertError: There is none.
    """
    if name not in RECIPES:
        raise ConvertError(f"A recipe must be one of {', '.join(RECIPES)} but is {name!r}.")
    return RECIPES[name]
