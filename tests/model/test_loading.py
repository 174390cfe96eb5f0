from __future__ import annotations

import os
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from failing_device import fail
from folders import read_bytes
from golden import Case, tokens_of
from tiny_checkpoint import write_split_folder, write_tiny_checkpoint

from gptoss_mlx import load_model
from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.device import compute_dtype
from gptoss_mlx.errors import DeviceError, NoCheckpointError, StorageError
from gptoss_mlx.model.loading import _weights


def test_the_type_follows_the_device(released: dict[Case, Path]) -> None:
    """Unless asked otherwise, the model computes in what suits the device."""
    logits = load_model(released[Case(1, 8)])(mx.array([[1, 2, 3]]))

    assert logits.dtype == compute_dtype()


def test_bf16_and_float32_on_request(released: dict[Case, Path]) -> None:
    """``dtype`` decides the dtype of the logits."""
    for dtype in (mx.bfloat16, mx.float32):
        model = load_model(released[Case(1, 8)], dtype=dtype)
        assert model(mx.array([[1, 2]])).dtype == dtype


def test_the_skeleton_is_mlx_lms(released: dict[Case, Path]) -> None:
    """``layers``, ``make_cache`` and ``model`` under ``lm_head`` are where it looks."""
    model = load_model(str(released[Case(1, 8)]), dtype=mx.float32)
    tokens = mx.array(tokens_of(Case(1, 8))[None, :20])
    cache = model.make_cache()

    hidden = model.model(tokens, cache)

    assert len(model.layers) == len(cache) == 4
    assert [layer.offset for layer in cache] == [20] * 4
    np.testing.assert_array_equal(np.array(model.lm_head(hidden)), np.array(model(tokens)))


@pytest.mark.parametrize("bits", [4, 8])
def test_a_folder_quantized_by_mlx_lm(bits: int, tmp_path: Path) -> None:
    """Attention, embedding, head and router compute what mlx-lm stored, dequantized."""
    write_tiny_checkpoint(tmp_path, hidden_size=128, num_local_experts=4)
    folder = tmp_path / "mlx"
    write_split_folder(tmp_path, folder, bits=bits, router_bits=8)
    tokens = mx.array(np.arange(3, 60)[None])
    plain = load_model(tmp_path, dtype=mx.float32)
    for path, module in plain.named_modules():
        if "weight" in module and module.weight.ndim == 2:
            chosen = 8 if path.endswith("router") else bits
            bf16 = module.weight.astype(mx.bfloat16)
            weight, scales, biases = mx.quantize(bf16, group_size=64, bits=chosen)
            module.weight = mx.dequantize(
                weight,
                scales.astype(mx.float32),
                biases.astype(mx.float32),
                group_size=64,
                bits=chosen,
            )

    ours = load_model(folder, dtype=mx.float32)

    assert mx.allclose(ours(tokens), plain(tokens), rtol=0, atol=1e-4)
    assert type(ours.layers[0].mlp.router).__name__ == "QuantizedLinear"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """The message names the folder and what it lacks."""
    with pytest.raises(NoCheckpointError, match=r"must have a config\.json"):
        load_model(tmp_path)


def test_an_opened_checkpoint_is_not_opened_again(
    released: dict[Case, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its config.json and headers have been read and checked: the model is the same."""
    folder = released[Case(1, 8)]
    tokens = mx.array([[1, 2, 3]])
    expected = load_model(folder, dtype=mx.float32)(tokens)
    checkpoint = open_checkpoint(folder)
    monkeypatch.delattr("gptoss_mlx.model.loading.open_checkpoint")

    model = load_model(checkpoint, dtype=mx.float32)

    assert mx.array_equal(model(tokens), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("layout", [".", "original"])
def test_every_byte_is_read_once(layout: str, tmp_path: Path) -> None:
    """Even if q, k and v, here three quarters of the file, are one tensor."""
    write_tiny_checkpoint(tmp_path, num_hidden_layers=2)
    load_model(tmp_path)  # Python's own modules are read here.
    write_tiny_checkpoint(
        tmp_path,
        hidden_size=1_024,
        intermediate_size=32,
        num_attention_heads=64,
        num_key_value_heads=64,
        num_hidden_layers=2,
        num_local_experts=4,
        vocab_size=64,
    )
    folder = tmp_path / layout

    before = read_bytes()
    load_model(folder)

    assert read_bytes() - before <= 1.01 * (folder / "model.safetensors").stat().st_size


def test_a_file_that_shrinks_while_it_is_read_is_a_named_error(tmp_path: Path) -> None:
    """MLX's error about a failing disk gets the folder and the tensor."""
    write_tiny_checkpoint(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    lazy = checkpoint.array("lm_head.weight")
    os.truncate(tmp_path / "model.safetensors", 30_000)

    with pytest.raises(StorageError, match=r"embed_tokens\.weight: "):
        list(_weights(checkpoint, mx.float32))
    del lazy


def test_memory_that_is_out_is_not_the_file_s_error(
    released: dict[Case, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device's error while a tensor is read is a DeviceError."""
    fail(monkeypatch, "eval", after=2)

    with pytest.raises(DeviceError, match="Insufficient Memory"):
        load_model(released[Case(1, 8)])


def test_mlx_lms_own_loop_runs_the_model(released: dict[Case, Path]) -> None:
    """Its ``generate_step`` writes greedily what whole passes over the text give."""
    from mlx_lm.generate import generate_step

    model = load_model(released[Case(1, 8)], dtype=mx.float32)
    prompt = [5, 6, 7, 8] * 10
    text = list(prompt)
    for _ in range(8):
        logits = np.array(model(mx.array([text]))[0, -1])
        text.append(int(logits.argmax()))

    theirs = [token for token, _ in generate_step(mx.array(prompt), model, max_tokens=8)]

    assert theirs == text[len(prompt) :]


@pytest.mark.parametrize("token", [-1, 512, 10**7])
def test_an_id_outside_the_vocabulary_gives_nan(
    token: int, released: dict[Case, Path]
) -> None:
    """MLX would read past the end of the table, and crash or make something up."""
    model = load_model(released[Case(1, 8)], dtype=mx.float32)

    logits = np.array(model(mx.array([[5, 6, 7], [5, 6, token]])))

    assert np.isnan(logits[1, 2]).all()
    assert np.isfinite(logits[0]).all()
