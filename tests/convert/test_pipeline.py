from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from folders import digests
from small_conversion import convert, mlx_lm_logits
from tiny_checkpoint import read_tensors, write_safetensors, write_split_folder

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.errors import ConvertError


def expert_digests(folder: Path) -> dict[str, str]:
    """Digests of the experts as ``folder`` has them, by their released names."""
    tensors = {}
    for path in folder.glob("*.safetensors"):
        for name, tensor in read_tensors(path).items():
            if ".experts." in name:
                tensors[name] = tensor.tobytes().hex()
    return tensors


def test_exact_is_the_source_to_mlx_lm(source: Path, exact: Path) -> None:
    """mlx-lm computes the very same logits from our folder and from the released one."""
    assert mx.array_equal(mlx_lm_logits(exact), mlx_lm_logits(source)).item()


def test_q8_runs_in_mlx_lm(source: Path, q8: Path) -> None:
    """mlx-lm reads the 8 bits as 8 bits: the logits are near the source's, and not they."""
    logits, released = mlx_lm_logits(q8), mlx_lm_logits(source)
    difference = np.array(mx.abs(logits - released).astype(mx.float32))

    assert 0 < difference.mean() < 0.2
    assert mx.isfinite(logits).all().item()


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_both_layouts_give_the_same_tensors(
    source: Path, recipe: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """OpenAI's layout and Hugging Face's convert to the same weight files and index."""
    from_hugging_face: Path = request.getfixturevalue(recipe)
    from_openai = tmp_path / "out"
    convert(source / "original", from_openai, recipe=recipe)

    assert digests(from_openai, "model*") == digests(from_hugging_face, "model*")
    table = "quantization"
    configs = [
        json.loads((folder / "config.json").read_text())
        for folder in (from_openai, from_hugging_face)
    ]
    assert configs[0][table] == configs[1][table]
    assert open_checkpoint(from_openai).config == open_checkpoint(from_hugging_face).config


def test_openais_config_beside_hugging_faces_tensors(
    source: Path, q8: Path, tmp_path: Path
) -> None:
    """Its keys have no quantization, so the output has Hugging Face's, and opens."""
    folder = tmp_path / "mixed"
    shutil.copytree(source, folder)
    shutil.copy(source / "original" / "config.json", folder / "config.json")
    convert(folder, tmp_path / "out")

    ours, theirs = (open_checkpoint(path).config for path in (tmp_path / "out", q8))
    assert ours == theirs


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_expert_bytes_are_the_released_ones(
    source: Path, recipe: str, request: pytest.FixtureRequest
) -> None:
    """Under the released names, blocks, scales and biases are the same bytes."""
    folder: Path = request.getfixturevalue(recipe)

    released = expert_digests(source)
    assert len(released) == 4 * 6
    assert expert_digests(folder) == released


def test_exact_keeps_every_byte(source: Path, exact: Path) -> None:
    """Every tensor is the released one; nothing is missing or added."""
    released = read_tensors(source / "model.safetensors")
    ours = {
        name: tensor
        for path in exact.glob("*.safetensors")
        for name, tensor in read_tensors(path).items()
    }

    assert ours.keys() == released.keys()
    for name, tensor in released.items():
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)


def test_q8_is_what_mlx_quantizes_in_one_go(
    source: Path, q8: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Blocks of rows give the bytes of ``mx.quantize`` on the whole weight."""
    monkeypatch.setattr("gptoss_mlx.convert.quantize.PIECE_BYTES", 1000)
    convert(source, tmp_path / "out")
    ours = open_checkpoint(tmp_path / "out")
    released = open_checkpoint(source).array("lm_head.weight")
    with mx.stream(mx.cpu):
        whole = mx.quantize(released, group_size=32, bits=8)

    for suffix, expected in zip(("weight", "scales", "biases"), whole, strict=True):
        assert mx.array_equal(ours.array(f"lm_head.{suffix}"), expected).item()
    assert digests(tmp_path / "out") == digests(q8)


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_a_source_that_is_not_bfloat16(source: Path, tmp_path: Path, dtype: str) -> None:
    """Its scales keep the source's dtype, and the folder still opens."""
    tensors = read_tensors(source / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.dtype == np.uint16:
            values = (tensor.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = values.astype(np.float16 if dtype == "F16" else np.float32)
    (tmp_path / "source").mkdir()
    write_safetensors(tmp_path / "source" / "model.safetensors", tensors)
    shutil.copy(source / "config.json", tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "out")

    assert open_checkpoint(tmp_path / "out").dtype("lm_head.scales") == dtype
    assert mx.isfinite(mlx_lm_logits(tmp_path / "out")).all().item()


def test_the_same_source_gives_the_same_folder(
    source: Path, q8: Path, tmp_path: Path
) -> None:
    """No time, path or random name is in it."""
    convert(source, tmp_path / "elsewhere")

    assert digests(tmp_path / "elsewhere") == digests(q8)


@pytest.mark.parametrize("which", ["ours", "split"])
def test_an_mlx_folder_is_not_converted(
    source: Path, q8: Path, tmp_path: Path, which: str
) -> None:
    """It runs as it is, and the hint says so."""
    folder = q8
    if which == "split":
        folder = tmp_path / "split"
        write_split_folder(source, folder, bits=8, router_bits=8)
    with pytest.raises(ConvertError, match="but is an MLX folder") as caught:
        convert(folder, tmp_path / "out")

    assert caught.value.hint == f"It can be used directly: gptoss-mlx chat {folder}"
    assert not list(tmp_path.glob("out*"))
