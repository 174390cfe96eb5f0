from __future__ import annotations

import pytest

from gptoss_mlx.config import Quantization
from gptoss_mlx.convert.recipe_file import find_recipe
from gptoss_mlx.convert.recipes import RECIPES, default_recipe
from gptoss_mlx.errors import ConvertError

ATTENTION = "model.layers.7.self_attn"
DENSE = [
    "model.embed_tokens",
    "lm_head",
    *(f"{ATTENTION}.{letter}_proj" for letter in "qkvo"),
]


@pytest.mark.parametrize("size", ["20b", "120b", None])
def test_the_default(size: str | None) -> None:
    """Without a reason: no machine was asked."""
    assert default_recipe(size) == ("q8", "")


@pytest.mark.parametrize(
    ("recipe", "attention", "lm_head", "embedding"),
    [("q8", 8, 8, 8), ("q6", 6, 6, 6), ("small", 8, 6, 4)],
)
def test_bits_of_a_recipe(
    recipe: str, attention: int, lm_head: int, embedding: int
) -> None:
    """As their summaries say, in groups of 64."""
    packing = RECIPES[recipe].packing

    for letter in "qkvo":
        module = f"{ATTENTION}.{letter}_proj"
        assert packing(module, 2880) == Quantization(64, attention, "affine")
    assert packing("lm_head", 2880) == Quantization(64, lm_head, "affine")
    assert packing("model.embed_tokens", 2880) == Quantization(64, embedding, "affine")


@pytest.mark.parametrize("module", DENSE)
def test_q8_quantizes_attention_embedding_and_head(module: str) -> None:
    """Affine 8 bits in groups of 64, by the module's path."""
    assert RECIPES["q8"].packing(module, 2880) == Quantization(64, 8, "affine")


@pytest.mark.parametrize("module", DENSE)
def test_exact_quantizes_nothing(module: str) -> None:
    """Weights that were released in bfloat16 stay in bfloat16."""
    assert RECIPES["exact"].packing(module, 2880) is None


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(
    "module",
    [
        "model.layers.0.mlp.router",
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.mlp.experts.down_proj",
        "model.norm",
        "model.layers.0.input_layernorm",
    ],
)
def test_no_recipe_touches_router_experts_and_norms(name: str, module: str) -> None:
    """They stay as released in every recipe."""
    assert RECIPES[name].packing(module, 2880) is None


@pytest.mark.parametrize(("columns", "group_size"), [(64, 64), (96, 32), (48, None)])
def test_columns_that_no_group_divides(columns: int, group_size: int | None) -> None:
    """Smaller groups where 64 does not fit, and as released where 32 does not either."""
    packing = RECIPES["q8"].packing("lm_head", columns)

    assert (packing and packing.group_size) == group_size


def test_a_recipe_that_does_not_exist() -> None:
    """The error lists the existing ones."""
    with pytest.raises(
        ConvertError,
        match=r"^A recipe must be one of exact, q8, q6, small or a TOML file but is 'q9'\.",
    ):
        find_recipe("q9")
