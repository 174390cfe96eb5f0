"""A quantization dictionary that does not describe the tensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refusals import refused
from small_checkpoint import (
    EXPERTS,
    HEAD,
    MODEL,
    Q_PROJ,
    ROUTER,
    V_PROJ,
    Tensors,
    edit,
    edit_table,
)
from tiny_checkpoint import MXFP4

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.errors import CheckpointError, QuantizationError


@pytest.mark.parametrize(
    ("module", "entry", "suffix", "expected", "actual"),
    [
        (HEAD, {"group_size": 64, "bits": 8}, "weight", (64, 16), (64, 8)),
        (ROUTER, {"group_size": 64, "bits": 4}, "weight", (4, 8), (4, 16)),
        (Q_PROJ, {"group_size": 32, "bits": 4}, "scales", (64, 2), (64, 1)),
    ],
)
def test_bits_or_group_size_of_other_tensors(
    module: str,
    entry: dict[str, int],
    suffix: str,
    expected: tuple[int, int],
    actual: tuple[int, int],
    copy: Callable[[str], Path],
) -> None:
    """The message says which tensor has other columns than the entry gives."""
    folder = copy("q4")
    edit_table(folder, lambda table: table.update({module: entry}))

    refused(
        open_checkpoint,
        folder,
        QuantizationError,
        f"{folder / MODEL}: tensor '{module}.{suffix}' must have shape {expected} by "
        f"config.json's quantization (bits {entry['bits']}, "
        f"group_size {entry['group_size']}) but has {actual}.",
    )


def test_a_group_size_that_does_not_divide_the_columns(copy: Callable[[str], Path]) -> None:
    """MLX could not unpack it, whatever shapes the tensors have."""
    folder = copy("q4")
    edit_table(folder, lambda table: table.update({HEAD: {"group_size": 128, "bits": 4}}))

    refused(
        open_checkpoint,
        folder,
        QuantizationError,
        f"{folder / 'config.json'}: quantization of 'lm_head' must have a group_size that "
        "divides its 64 columns but has 128.",
    )


def test_another_mode_than_the_tensors_have(copy: Callable[[str], Path]) -> None:
    """Affine 4-bit under the name of mxfp4 shows in the scales."""
    folder = copy("q4")
    edit_table(folder, lambda table: table.update({V_PROJ: MXFP4}))

    with pytest.raises(CheckpointError, match=rf"{V_PROJ}\.scales' must have"):
        open_checkpoint(folder)


@pytest.mark.parametrize("module", [HEAD, ROUTER, V_PROJ])
def test_no_entry_for_a_module_with_scales(
    module: str, copy: Callable[[str], Path]
) -> None:
    """The default is then taken, and its tensors do not fit it."""
    folder = copy("q4")
    edit_table(folder, lambda table: table.pop(module))

    with pytest.raises(
        CheckpointError,
        match=rf"{MODEL}: tensor '{module}\.(weight|scales)' must have",
    ):
        open_checkpoint(folder)


@pytest.mark.parametrize("table", [None, False])
def test_a_module_with_scales_that_must_have_none(
    table: bool | None, copy: Callable[[str], Path]
) -> None:
    """Its entry is false, or there is no dictionary at all."""
    folder = copy("q4")
    module = "model.embed_tokens" if table is None else ROUTER
    if table is None:
        config = json.loads((folder / "config.json").read_text())
        del config["quantization"], config["quantization_config"]
        (folder / "config.json").write_text(json.dumps(config))
    else:
        edit_table(folder, lambda table: table.update({ROUTER: False}))

    refused(
        open_checkpoint,
        folder,
        QuantizationError,
        f"{folder / 'config.json'}: quantization must describe {module!r}, "
        "which has scales, but does not.",
    )


def test_an_entry_for_a_module_without_scales(copy: Callable[[str], Path]) -> None:
    """The dictionary promises what the files do not hold."""
    folder = copy("split")
    edit_table(folder, lambda table: table.update({HEAD: {"group_size": 64, "bits": 8}}))

    refused(
        open_checkpoint,
        folder,
        QuantizationError,
        f"{folder / 'config.json'}: quantization describes 'lm_head', "
        "which must have scales but has none.",
    )


@pytest.mark.parametrize("bits", [None, 8])
def test_a_value_projection_quantized_otherwise_than_its_query(
    bits: int | None, copy: Callable[[str], Path]
) -> None:
    """q, k and v are one matrix in the model: the two that differ are named."""
    folder = copy("q4")
    entry = bits is not None and {"group_size": 64, "bits": bits}
    edit_table(folder, lambda table: table.update({V_PROJ: entry}))

    def requantize(tensors: Tensors) -> None:
        weight = np.zeros((32, 16), np.uint32) if bits else np.zeros((32, 64), np.uint16)
        tensors[f"{V_PROJ}.weight"] = weight
        if bits is None:
            del tensors[f"{V_PROJ}.scales"], tensors[f"{V_PROJ}.biases"]

    edit(folder, requantize)

    refused(
        open_checkpoint,
        folder,
        QuantizationError,
        f"{folder}: model.layers.1.self_attn.q_proj and {V_PROJ} must be quantized alike "
        "but are not.",
    )


@pytest.mark.parametrize("layout", ["split", "converted", "q4"])
@pytest.mark.parametrize("projection", ["gate_proj", "up_proj", "down_proj"])
@pytest.mark.parametrize(
    ("entry", "found"), [({"group_size": 32, "bits": 4}, "'affine'"), (False, "none")]
)
def test_experts_that_are_not_mxfp4(
    layout: str,
    projection: str,
    entry: object,
    found: str,
    copy: Callable[[str], Path],
) -> None:
    """gpt-oss's experts are MXFP4, under the names that mlx-lm gives them."""
    folder = copy(layout)
    module = f"{EXPERTS}.{projection}"
    edit_table(folder, lambda table: table.update({module: entry}))

    refused(
        open_checkpoint,
        folder,
        QuantizationError,
        f"{folder / 'config.json'}: quantization of {module!r} must have mode 'mxfp4' "
        f"but has {found}.",
    )


@pytest.mark.parametrize("layout", ["split", "converted", "q4"])
def test_a_default_that_makes_experts_affine(
    layout: str, copy: Callable[[str], Path]
) -> None:
    """Where experts have no entries, the default is theirs."""
    folder = copy(layout)
    edit_table(folder, lambda table: table.update(mode="affine"))

    refused(
        open_checkpoint,
        folder,
        QuantizationError,
        f"{folder / 'config.json'}: quantization of "
        "'model.layers.0.mlp.experts.gate_proj' must have mode 'mxfp4' but has 'affine'.",
    )
