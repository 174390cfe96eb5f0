from __future__ import annotations

import dataclasses
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tiny_checkpoint import write_split_folder, write_tiny_checkpoint

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.config import RELEASED, ModelConfig, Quantization
from gptoss_mlx.config_json import hugging_face_keys, parse_config, read_config
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.device import Machine
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.model.footprint import cache_bytes, footprint_of, weights_bytes, weights_of
from gptoss_mlx.model.full_cache import FullCache
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.memory import working_bytes
from gptoss_mlx.model.transformer import Model

EXACT, Q8 = RECIPES["exact"].packing, RECIPES["q8"].packing
GIB = 1 << 30


def small_config() -> ModelConfig:
    """Two layers, one of each kind, whose window is that of 20b."""
    return dataclasses.replace(
        RELEASED["20b"],
        num_hidden_layers=2,
        hidden_size=32,
        intermediate_size=32,
        num_local_experts=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        vocab_size=64,
        layer_types=("sliding_attention", "full_attention"),
    )


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


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_a_folder_of_mlx_lm_is_counted_to_the_byte(tmp_path: Path, dtype: mx.Dtype) -> None:
    """Its router is quantized, too."""
    write_tiny_checkpoint(tmp_path / "source", hidden_size=128, num_local_experts=4)
    write_split_folder(tmp_path / "source", tmp_path / "mlx", bits=4, router_bits=8)
    checkpoint = open_checkpoint(tmp_path / "mlx")
    arrays = dict(tree_flatten(load_model(checkpoint, dtype=dtype).parameters()))

    assert weights_bytes(
        checkpoint.config, lambda path, _: checkpoint.quantization_of(path), dtype.size
    ) == sum(array.nbytes for array in arrays.values())


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_a_matrix_in_mxfp4_has_a_byte_per_group(dtype: mx.Dtype) -> None:
    """Its scales are not numbers of the dtype, and it has no biases."""
    config = RELEASED["20b"]
    packed = mx.quantize(mx.zeros((64, config.hidden_size), dtype), 32, 4, mode="mxfp4")

    weights = weights_of(
        config, lambda path, columns: Quantization(32, 4, "mxfp4"), dtype.size
    )
    assert weights.lm_head_bytes == config.vocab_size // 64 * sum(
        part.nbytes for part in packed
    )


@pytest.mark.parametrize("chunk_tokens", [512, 100])
def test_the_caches_hold_what_was_counted(chunk_tokens: int) -> None:
    """To the byte, in both kinds of layer, after a prefill of any length in chunks."""
    config = small_config()
    model = Model(config)
    token_bytes = 2 * config.num_key_value_heads * config.head_dim * 4

    for tokens in (0, 1, 100, 256, 257, 512, 513, 1_024, 1_500, 4_000):
        layers = model.make_cache()
        for start in range(0, tokens, chunk_tokens):
            chunk = min(chunk_tokens, tokens - start)
            mx.eval(model.model(mx.zeros((1, chunk), mx.int32), layers))
        held = [sum(array.nbytes for array in layer.state) for layer in layers]
        assert held == [
            layer.nbytes_for(tokens, token_bytes=token_bytes)
            for layer in model.make_cache()
        ], tokens
        assert sum(held) == cache_bytes(config, tokens, 4, max_windows=0)


def test_the_windows_kept_hold_no_more_than_was_counted() -> None:
    """A text full of boundaries keeps as many as there can be, the first one short."""
    config = small_config()
    cache = PromptCache(Model(config), boundaries=frozenset({1}))
    text = ([1] + [0] * 15) * 32
    cache.prefill(cache.begin(text))

    kept = sum(point.nbytes for point in cache.snapshots)
    counted = cache_bytes(config, 512, 4) - cache_bytes(config, 512, 4, max_windows=0)
    assert len(cache.snapshots) == 16
    assert 0.9 * counted <= kept <= counted


def test_the_cache_grows_with_the_full_layers_alone() -> None:
    """24 KiB a token for gpt-oss-20b, 13 MB in sliding layers and 53 in their windows."""
    config = RELEASED["20b"]
    fixed = 12 * (512 + 16 * 135) * 2_048

    for tokens in (512, 1_024, 131_072):
        room = FullCache.room_for(tokens)
        assert tokens <= room <= 1.125 * tokens
        assert cache_bytes(config, tokens) == fixed + room * 24_576
    assert cache_bytes(config, 0) == 0


def mac(limit_gib: float) -> Machine:
    """A Mac that lets a program use so much."""
    return Machine(
        "Apple M4", "gpu", "bfloat16", int(1.4 * limit_gib * GIB), int(limit_gib * GIB)
    )


def test_what_fits() -> None:
    """20b by q8 fits a limit of 16 GiB with a short context, and not one of 11."""
    config = RELEASED["20b"]
    machine = mac(16)
    plan = footprint_of(config, Q8, machine, context_tokens=4_096)

    assert plan.fits
    assert plan.total_bytes == (
        plan.weights_bytes + cache_bytes(config, 4_096) + working_bytes(config, machine)
    )
    tight = footprint_of(config, Q8, mac(11), context_tokens=4_096)
    assert not tight.fits
    assert tight.longest_context_tokens == 0


def test_the_longest_context_fits_and_what_its_buffers_do_not_hold_does_not() -> None:
    """It is counted to the token, and never beyond the model's own."""
    config = RELEASED["20b"]
    machine = mac(13)
    longest = footprint_of(config, Q8, machine, context_tokens=1).longest_context_tokens

    assert 0 < longest < config.max_position_embeddings
    for context, fits in ((longest, True), (longest + 1, False)):
        plan = footprint_of(config, Q8, machine, context_tokens=context)
        assert plan.fits is fits
    roomy = footprint_of(config, Q8, mac(96), context_tokens=1)
    assert roomy.longest_context_tokens == 131_072
