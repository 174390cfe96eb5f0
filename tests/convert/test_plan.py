from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.safetensors import DTYPE_BYTES, read_header
from gptoss_mlx.config import Quantization
from gptoss_mlx.convert.plan import (
    SHARD_BYTES,
    OutputTensor,
    plan_shards,
    plan_tensors,
)
from gptoss_mlx.convert.recipes import RECIPES

MXFP4 = {"group_size": 32, "bits": 4, "mode": "mxfp4"}


def test_a_shard_with_its_header_stays_below_5_gb() -> None:
    """A file's tensors leave room for a header."""
    assert 5_000_000_000 - SHARD_BYTES > 500_000


def test_shards_hold_whole_modules_up_to_the_limit(source: Path) -> None:
    """A weight is in one file with its scales, and an expert's blocks with theirs."""
    tensors = plan_tensors(open_checkpoint(source), RECIPES["q8"])
    limit = 300_000
    shards = plan_shards(tensors, shard_bytes=limit)
    file_of = {tensor.name: shard.file for shard in shards for tensor in shard.tensors}

    assert len(shards) > 2
    assert max(shard.nbytes for shard in shards) <= limit
    assert sorted(file_of) == sorted(tensor.name for tensor in tensors)
    for name, file in file_of.items():
        if name.endswith("scales") and "experts" not in name:
            module = name.removesuffix(".scales")
            assert file_of[f"{module}.weight"] == file == file_of[f"{module}.biases"]
        if name.endswith("_blocks"):
            assert file_of[name.replace("_blocks", "_scales")] == file


def test_a_module_larger_than_the_limit_has_its_own_file() -> None:
    """Nothing is cut, and no file is empty."""
    tensors = [
        OutputTensor(f"{name}.weight", "U8", (size,), f"{name}.weight")
        for name, size in (("a", 10), ("b", 100), ("c", 10), ("d", 10))
    ]
    shards = plan_shards(tensors, shard_bytes=20)

    assert [(shard.file, shard.nbytes) for shard in shards] == [
        ("model-00001-of-00003.safetensors", 10),
        ("model-00002-of-00003.safetensors", 100),
        ("model-00003-of-00003.safetensors", 20),
    ]


def made_of(file: str, start: int, name: str, dtype: str, size: int) -> OutputTensor:
    """A tensor of the output, and where its source is."""
    packing = Quantization(32, 8, "affine") if dtype == "U32" else None
    return OutputTensor(name, dtype, (size,), name, packing, file, start)


def test_a_file_for_each_source_file() -> None:
    """One that is larger than a file is distributed to several."""
    sizes = {"a": 30, "b": 30, "c": 50, "d": 150, "e": 10}
    tensors = [
        made_of(file, 50 * part, f"{file}{part}.weight", "U8", min(size, 50))
        for part in range(3)
        for file, size in sizes.items()
        if size > 50 * part
    ]
    shards = plan_shards(tensors, shard_bytes=100)
    files = [{tensor.source_file for tensor in shard.tensors} for shard in shards]

    assert files == [{"a"}, {"b"}, {"c"}, {"d"}, {"d"}, {"e"}]


def test_tensors_are_written_in_the_order_of_their_source() -> None:
    """With a weight's scales and biases behind it."""
    tensors = [
        made_of("x", 64, "a.weight", "U32", 4),
        made_of("x", 64, "a.biases", "BF16", 2),
        made_of("x", 64, "a.scales", "BF16", 2),
        made_of("x", 0, "b.bias", "BF16", 2),
    ]
    tensors = [replace(t, packing=tensors[0].packing) for t in tensors]
    (shard,) = plan_shards(tensors)

    assert [tensor.name for tensor in shard.tensors] == [
        "b.bias",
        "a.weight",
        "a.scales",
        "a.biases",
    ]


def test_an_order_of_the_source_that_does_not_align() -> None:
    """Then larger dtypes come first."""
    tensors = [
        made_of("x", 0, "b.bias", "BF16", 3),
        made_of("x", 64, "a.weight", "U32", 4),
    ]
    (shard,) = plan_shards(tensors)

    assert [tensor.name for tensor in shard.tensors] == ["a.weight", "b.bias"]


def test_layers_come_in_the_order_a_token_meets_them(source: Path) -> None:
    """Embedding, layers by number, norm, lm_head."""
    tensors = plan_tensors(open_checkpoint(source), RECIPES["exact"])
    places = []
    for tensor in tensors:
        words = tensor.name.split(".")
        place = words[2] if words[1] == "layers" else words[-2]
        if place not in places:
            places.append(place)

    assert places == ["embed_tokens", "0", "1", "2", "3", "norm", "lm_head"]


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_every_tensor_is_aligned_to_its_dtype(
    recipe: str, request: pytest.FixtureRequest
) -> None:
    """A reader may map the file and use the tensors in place."""
    folder: Path = request.getfixturevalue(recipe)
    for path in folder.glob("*.safetensors"):
        for tensor in read_header(path).values():
            assert tensor.start % DTYPE_BYTES[tensor.dtype] == 0, tensor


def test_config_names_every_module_as_mlx_lm_does(q8: Path) -> None:
    """Experts after splitting, the router and nothing else false, no second dictionary."""
    config = json.loads((q8 / "config.json").read_text())
    table = config["quantization"]
    layer = "model.layers.3"

    assert "quantization_config" not in config
    assert {key: table[key] for key in MXFP4} == MXFP4
    for projection in ("gate_proj", "up_proj", "down_proj"):
        assert table[f"{layer}.mlp.experts.{projection}"] == MXFP4
    assert table["model.embed_tokens"] == {**MXFP4, "bits": 8, "mode": "affine"}
    assert table[f"{layer}.self_attn.o_proj"] == {
        "group_size": 64,
        "bits": 8,
        "mode": "affine",
    }
    assert [key for key, value in table.items() if value is False] == [
        f"model.layers.{number}.mlp.router" for number in range(4)
    ]


def test_config_keeps_the_other_keys_of_the_source(source: Path, exact: Path) -> None:
    """Even keys that are unknown here."""
    before = json.loads((source / "config.json").read_text())
    after = json.loads((exact / "config.json").read_text())
    del before["quantization_config"], after["quantization"]

    assert after == before
