from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.config import RELEASED
from gptoss_mlx.config_json import hugging_face_keys, parse_config, read_config
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.model.footprint import WORKING_BYTES, cache_bytes, make_plan, weights_bytes
from gptoss_mlx.model.loading import load_model

EXACT, Q8 = RECIPES["exact"].packing, RECIPES["q8"].packing
GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "nbytes"), [("20b", 13_761_264_768), ("120b", 65_248_815_744)]
)
def test_as_released_it_is_what_openai_s_index_says(size: str, nbytes: int) -> None:
    """total_size of model.safetensors.index.json, to the byte."""
    assert weights_bytes(RELEASED[size], EXACT) == nbytes


def test_the_releases_survive_their_own_config() -> None:
    """What is written of them is read back as the same."""
    for config in RELEASED.values():
        assert parse_config(hugging_face_keys(config), source="config.json") == config


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_it_is_what_a_loaded_model_holds(
    tmp_path: Path, recipe: str, dtype: mx.Dtype
) -> None:
    """Every parameter of a small model, whatever the recipe and the type."""
    write_tiny_checkpoint(tmp_path / "source", num_hidden_layers=4)
    convert_checkpoint(tmp_path / "source", tmp_path / "out", recipe=recipe)
    model = load_model(tmp_path / "out", dtype=dtype)
    arrays = dict(tree_flatten(model.parameters()))
    held = sum(array.nbytes for array in arrays.values())

    config = read_config(tmp_path / "source")
    assert weights_bytes(config, RECIPES[recipe].packing, dtype.size) == held


def test_the_cache_grows_with_the_full_layers_alone() -> None:
    """24 KiB a token for gpt-oss-20b, and about 5 MB for the windows."""
    config = RELEASED["20b"]

    assert cache_bytes(config, 1) - cache_bytes(config, 0) == 24_576
    assert cache_bytes(config, 0) == 12 * 192 * 2_048
    assert round(cache_bytes(config, 131_072) / 1e9, 2) == 3.23


def test_what_fits() -> None:
    """20b by q8 fits a limit of 13 GiB with a short context, and not one of 11."""
    config = RELEASED["20b"]
    plan = make_plan(config, Q8, context_tokens=4_096, limit_bytes=13 * GIB)

    assert plan.fits
    assert plan.total_bytes == (
        plan.weights_bytes + cache_bytes(config, 4_096) + WORKING_BYTES
    )
    tight = make_plan(config, Q8, context_tokens=4_096, limit_bytes=11 * GIB)
    assert not tight.fits
    assert tight.longest_context_tokens == 0


def test_the_longest_context_fits_and_one_token_more_does_not() -> None:
    """It is counted to the token, and never beyond the model's own."""
    config = RELEASED["20b"]
    limit = 14 * GIB
    longest = make_plan(
        config, Q8, context_tokens=1, limit_bytes=limit
    ).longest_context_tokens

    assert 0 < longest < config.max_position_embeddings
    for context, fits in ((longest, True), (longest + 1, False)):
        plan = make_plan(config, Q8, context_tokens=context, limit_bytes=limit)
        assert plan.fits is fits
    roomy = make_plan(config, Q8, context_tokens=1, limit_bytes=96 * GIB)
    assert roomy.longest_context_tokens == 131_072
