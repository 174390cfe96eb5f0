"""Tensors that are not what config.json implies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from small_checkpoint import BLOCKS, EXPERTS, HEAD, MODEL, Q_PROJ, Tensors, edit
from tiny_checkpoint import read_tensors, write_safetensors, write_tiny_checkpoint

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.errors import CheckpointError, UnsupportedModelError


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("hf", "model.embed_tokens.weight"),
        ("hf", BLOCKS),
        ("hf", "model.layers.0.mlp.experts.gate_up_proj_blocks"),
        ("hf", f"{Q_PROJ}.bias"),
        ("original", "embedding.weight"),
        ("original", "block.0.attn.qkv.bias"),
        ("original", "block.1.mlp.mlp2_weight.scales"),
        ("split", f"{EXPERTS}.gate_proj.weight"),
        ("split", f"{EXPERTS}.up_proj.bias"),
        ("split", "model.layers.0.mlp.experts.gate_proj.weight"),
        ("q4", f"{HEAD}.biases"),
        ("q4", f"{Q_PROJ}.weight"),
    ],
)
def test_a_missing_tensor(layout: str, name: str, copy: Callable[[str], Path]) -> None:
    """It is named as the files would name it, with the folder that lacks it."""
    folder = copy(layout)
    edit(folder, lambda tensors: tensors.pop(name))

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"config.json implies the tensor {name!r}, but no file in {folder} has it.",
    )


@pytest.mark.parametrize("layout", ["hf", "original", "split", "q4"])
@pytest.mark.parametrize(
    "name",
    [
        "extra",
        "model.layers.2.self_attn.sinks",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "block.0.extra",
        "embedding.bias",
        "model.layers.0.mlp.experts.gate_proj.extra",
    ],
)
def test_an_extra_tensor(layout: str, name: str, copy: Callable[[str], Path]) -> None:
    """One that nothing would use is named, also if it is called as in another layout."""
    folder = copy(layout)
    edit(folder, lambda tensors: tensors.update({name: np.zeros(1, np.uint16)}))

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor {name!r} is not implied by config.json.",
    )


def test_experts_both_split_and_not(
    copy: Callable[[str], Path], released_tensors: Tensors
) -> None:
    """The split one is extra."""
    folder = copy("split")
    extra = {
        name: tensor for name, tensor in released_tensors.items() if ".experts." in name
    }
    edit(folder, lambda tensors: tensors.update(extra))

    with pytest.raises(CheckpointError, match=r"experts\.\w+_proj\.weight' is not implied"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("layout", "name", "expected", "actual"),
    [
        ("hf", "lm_head.weight", (64, 64), (64, 32)),
        ("hf", "lm_head.weight", (64, 64), (63, 64)),
        ("hf", "model.norm.weight", (64,), (1, 64)),
        ("hf", "model.norm.weight", (64,), ()),
        ("hf", "model.norm.weight", (64,), (0,)),
        ("hf", BLOCKS, (4, 64, 2, 16), (4, 64, 32)),
        ("hf", f"{EXPERTS}.down_proj_scales", (4, 64, 1), (4, 64, 2)),
        ("original", "block.0.attn.qkv.weight", (128, 64), (64, 64)),
        ("original", "block.1.mlp.mlp1_bias", (4, 64), (4, 32)),
        ("split", f"{EXPERTS}.up_proj.weight", (4, 32, 8), (4, 64, 8)),
        ("split", f"{EXPERTS}.gate_proj.scales", (4, 32, 2), (4, 32, 1)),
        ("q4", f"{HEAD}.weight", (64, 8), (32, 8)),
    ],
)
def test_a_misshapen_tensor(
    layout: str,
    name: str,
    expected: tuple[int, ...],
    actual: tuple[int, ...],
    copy: Callable[[str], Path],
) -> None:
    """The message says both shapes."""
    folder = copy(layout)

    def reshape(tensors: Tensors) -> None:
        tensors[name] = np.zeros(actual, tensors[name].dtype)

    edit(folder, reshape)

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor {name!r} must have shape {expected} but has {actual}.",
    )


@pytest.mark.parametrize(
    ("layout", "name", "expected", "actual"),
    [
        ("hf", "lm_head.weight", "BF16 or F16 or F32", "U8"),
        ("hf", "model.norm.weight", "BF16 or F16 or F32", "U32"),
        ("hf", BLOCKS, "U8", "BF16"),
        ("hf", f"{EXPERTS}.gate_up_proj_bias", "BF16 or F16 or F32", "U8"),
        ("original", "block.0.attn.qkv.weight", "BF16 or F16 or F32", "U32"),
        ("original", "block.0.mlp.mlp2_weight.scales", "U8", "F32"),
        ("split", f"{EXPERTS}.down_proj.weight", "U32", "BF16"),
        ("split", f"{EXPERTS}.gate_proj.scales", "U8", "BF16"),
        ("split", f"{EXPERTS}.up_proj.bias", "BF16", "F32"),
        ("q4", f"{HEAD}.weight", "U32", "BF16"),
        ("q4", f"{HEAD}.scales", "BF16 or F16 or F32", "U8"),
    ],
)
def test_a_tensor_of_the_wrong_dtype(
    layout: str, name: str, expected: str, actual: str, copy: Callable[[str], Path]
) -> None:
    """The message says both dtypes. Two halves of one tensor must have the same."""
    folder = copy(layout)
    dtypes = {"BF16": np.uint16, "U8": np.uint8, "U32": np.uint32, "F32": np.float32}

    def cast(tensors: Tensors) -> None:
        tensors[name] = tensors[name].astype(dtypes[actual])

    edit(folder, cast)

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor {name!r} must have dtype {expected} but has {actual}.",
    )


def test_affine_experts_under_the_name_of_mxfp4(copy: Callable[[str], Path]) -> None:
    """Their scales are no bytes."""
    folder = copy("split")
    module = f"{EXPERTS}.down_proj"

    def affine(tensors: Tensors) -> None:
        scales = tensors[f"{module}.scales"]
        tensors[f"{module}.scales"] = scales.astype(np.uint16)
        tensors[f"{module}.biases"] = scales.astype(np.uint16)

    edit(folder, affine)

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor '{module}.scales' must have dtype U8 but has BF16.",
    )


@pytest.mark.parametrize(
    "spelling",
    [
        "model.layers.{}.mlp.experts.gate_up_proj",
        "model.layers.{}.mlp.experts.0.gate_proj.weight",
        "model.layers.{}.mlp.experts.gate_proj.weight",
        "block.{}.mlp.mlp1_weight",
    ],
)
def test_a_fine_tune_with_experts_in_bf16_is_told_what_it_is(
    tmp_path: Path, spelling: str
) -> None:
    """To fetch the files again would not help."""
    write_tiny_checkpoint(tmp_path)
    place = tmp_path / "original" if spelling.startswith("block") else tmp_path
    tensors = {
        name: tensor
        for name, tensor in read_tensors(place / MODEL).items()
        if ".experts." not in name and "mlp1" not in name and "mlp2" not in name
    }
    for layer in range(4):
        tensors[spelling.format(layer)] = np.zeros((8, 96, 128), np.uint16)
    write_safetensors(place / MODEL, tensors)

    with pytest.raises(UnsupportedModelError) as caught:
        open_checkpoint(place)
    name = spelling.format(0)
    assert str(caught.value) == (
        f"{place}: experts must be MXFP4, as released, but {name!r} is BF16: "
        "the fine-tune was not packed again."
    )
    assert "Fetch" not in caught.value.hint
