from __future__ import annotations

import gc
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from folders import read_bytes
from tiny_checkpoint import (
    MXFP4,
    read_tensors,
    write_safetensors,
    write_split_folder,
    write_tiny_checkpoint,
)

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.config import Quantization
from gptoss_mlx.errors import (
    CheckpointError,
    CorruptFileError,
    GptOssError,
    QuantizationError,
    StorageError,
    UnsupportedModelError,
)

Array = npt.NDArray[Any]
Tensors = dict[str, Array]

MODEL = "model.safetensors"
EXPERTS = "model.layers.1.mlp.experts"
BLOCKS = f"{EXPERTS}.gate_up_proj_blocks"
ROUTER = "model.layers.0.mlp.router"
Q_PROJ = "model.layers.0.self_attn.q_proj"
QKV_WEIGHT = "model.layers.0.self_attn.qkv_proj.weight"
V_PROJ = "model.layers.1.self_attn.v_proj"
HEAD = "lm_head"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tensors in every layout: hf, original, split, and quantized ones."""
    root = tmp_path_factory.mktemp("root")
    write_tiny_checkpoint(
        root / "hf",
        vocab_size=64,
        hidden_size=64,
        intermediate_size=32,
        num_hidden_layers=2,
        num_local_experts=4,
        num_attention_heads=4,
        head_dim=16,
    )
    (root / "hf" / "original").rename(root / "original")
    write_split_folder(root / "hf", root / "split")
    write_split_folder(root / "hf", root / "q4", bits=4, router_bits=8)
    shutil.copytree(root / "hf", root / "converted")
    edit_table(root / "converted", lambda table: table.update(MXFP4))
    return root


@pytest.fixture(scope="module")
def released(root: Path) -> Tensors:
    """The tensors as Hugging Face has them, read without the package."""
    return read_tensors(root / "hf" / MODEL)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy one of the folders, to be changed."""
    return lambda name: Path(shutil.copytree(root / name, tmp_path / name))


def edit(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Change the tensors of a folder."""
    tensors = read_tensors(folder / MODEL)
    change(tensors)
    write_safetensors(folder / MODEL, tensors)


def edit_table(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the quantization dictionary of a folder."""
    config = json.loads((folder / "config.json").read_text())
    change(config.setdefault("quantization", {}))
    (folder / "config.json").write_text(json.dumps(config))


def bits_of(array: mx.array) -> Array:
    """An array's values; bfloat16 as its bits."""
    return np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)


def refused(folder: Path, error: type[GptOssError], message: str) -> None:
    """Assert that the folder is refused with this very error and message, and a hint."""
    with pytest.raises(error) as caught:
        open_checkpoint(folder)
    assert type(caught.value) is error
    assert str(caught.value) == message
    assert re.match("[A-Z]", caught.value.hint)


# Tensors.


def parameters_of(released: Tensors) -> Tensors:
    """What the model computes with: q, k and v in one, and blocks eight values a uint32."""
    found: Tensors = {}
    for name, tensor in released.items():
        if ".q_proj." in name:
            same = [released[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            found[name.replace("q_proj", "qkv_proj")] = np.concatenate(same)
        elif name.endswith("_blocks"):
            found[name] = tensor.view(np.uint32).reshape(*tensor.shape[:2], -1)
        elif ".k_proj." not in name and ".v_proj." not in name:
            found[name] = tensor
    return found


DTYPES = {np.dtype("uint8"): mx.uint8, np.dtype("uint32"): mx.uint32}


@pytest.mark.parametrize("layout", ["hf", "original", "split", "converted"])
def test_every_layout_gives_the_model_the_same_arrays(
    layout: str, root: Path, released: Tensors
) -> None:
    """Names, dtypes, shapes and values are those it computes with."""
    checkpoint = open_checkpoint(root / layout)
    expected = parameters_of(released)

    assert checkpoint.parameters.keys() == expected.keys()
    for name, tensor in expected.items():
        array = checkpoint.array(name)
        assert checkpoint.parameters[name].shape == array.shape
        assert array.dtype == DTYPES.get(tensor.dtype, mx.bfloat16)
        np.testing.assert_array_equal(bits_of(array), tensor, err_msg=name)


@pytest.mark.parametrize("layout", ["hf", "original", "split", "converted", "q4"])
def test_some_rows_of_a_tensor_are_read_alone(
    layout: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the whole, also of gate and up, and across q, k and v."""
    checkpoint = open_checkpoint(root / layout)
    whole = {name: checkpoint.array(name) for name in checkpoint.parameters}
    mx.eval(*whole.values())
    monkeypatch.delattr(Checkpoint, "_load")  # reads whole tensors

    for name, array in whole.items():
        rows = len(array)
        for first, count in ((0, 1), (rows - 1, 1), (1, 2), (rows // 2 - 1, 3), (0, rows)):
            if first + count > rows:
                continue
            read = checkpoint.rows(name, first, count)
            assert read.dtype == array.dtype
            assert mx.array_equal(read, array[first : first + count]), name


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("layout", ["hf", "original", "split"])
def test_no_other_rows_are_read(layout: str, root: Path) -> None:
    """An expert's blocks cost their own bytes, and what Python reads ahead."""
    checkpoint = open_checkpoint(root / layout)
    expert = checkpoint.rows(BLOCKS, 1, 1)

    before = read_bytes()
    for _ in range(100):
        checkpoint.rows(BLOCKS, 1, 1)

    ahead = 2 * io.DEFAULT_BUFFER_SIZE  # of gate and up
    assert read_bytes() - before <= 100 * (expert.nbytes + ahead)


@pytest.mark.parametrize(
    ("first", "count"), [(-1, 1), (0, 0), (0, 5), (4, 1), (2, 3), (2, -1)]
)
def test_rows_that_a_tensor_does_not_have(first: int, count: int, root: Path) -> None:
    """The message says which were asked for, and which there are."""
    checkpoint = open_checkpoint(root / "split")

    with pytest.raises(ValueError, match="rows") as caught:
        checkpoint.rows(BLOCKS, first, count)

    assert str(caught.value) == (
        f"[rows] {BLOCKS} must have rows {first} to {first + count} but has rows 0 to 4."
    )


def test_rows_of_a_file_cut_short_since_it_was_opened(copy: Callable[[str], Path]) -> None:
    """None is read of a file that is no longer the one that was checked."""
    checkpoint = open_checkpoint(copy("hf"))
    tensor = checkpoint.files[BLOCKS]
    os.truncate(tensor.path, tensor.start + tensor.nbytes // 2)

    with pytest.raises(CorruptFileError) as caught:
        checkpoint.rows(BLOCKS, 1, 1)

    assert str(caught.value) == (f"{tensor.path}: changed while it was read.")


@pytest.mark.parametrize("layout", ["hf", "original", "split", "converted"])
def test_every_layout_gives_the_same_bytes(
    layout: str, root: Path, released: Tensors
) -> None:
    """A tensor that lies in one piece is read from the file as it is."""
    checkpoint = open_checkpoint(root / layout)

    assert checkpoint.views.keys() == released.keys()
    for name, expected in released.items():
        dtype = "U8" if expected.dtype == np.uint8 else "BF16"
        assert checkpoint.views[name].shape == expected.shape
        assert checkpoint.dtype(name) == dtype
        assert checkpoint.nbytes_of(name) == expected.nbytes
        assert checkpoint.is_verbatim(name) == (
            layout != "split" or ".gate_up_proj" not in name
        )
        if checkpoint.is_verbatim(name):
            chunks = list(checkpoint.chunks(name, chunk_bytes=1_000))
            assert max(len(chunk) for chunk in chunks) <= 1_000
            assert b"".join(chunks) == expected.tobytes()
    assert checkpoint.nbytes == sum(tensor.nbytes for tensor in released.values())


def test_a_tensor_in_two_pieces_has_no_bytes_of_its_own(root: Path) -> None:
    """Gate and up must be interleaved first: a caller's mistake is named."""
    checkpoint = open_checkpoint(root / "split")

    with pytest.raises(ValueError, match=r"\[chunks\] .*blocks must be in one piece"):
        checkpoint.chunks(BLOCKS)


def test_query_key_and_value_are_rows_of_one_tensor(root: Path, released: Tensors) -> None:
    """OpenAI stores the three as one: their bytes are found inside it, in this order."""
    checkpoint = open_checkpoint(root / "original")
    prefix = "model.layers.1.self_attn"
    names = [f"{prefix}.{letter}_proj.weight" for letter in "qkv"]
    read = b"".join(chunk for name in names for chunk in checkpoint.chunks(name))

    whole = read_tensors(root / "original" / MODEL)["block.1.attn.qkv.weight"]
    assert read == whole.tobytes()
    assert [checkpoint.views[name].first_row for name in names] == [0, 64, 96]
    assert [len(released[name]) for name in names] == [64, 32, 32]


def test_quantized_modules_have_three_tensors(root: Path) -> None:
    """Packed weight, scales and biases come as they lie in the file."""
    checkpoint = open_checkpoint(root / "q4")
    stored = read_tensors(root / "q4" / MODEL)

    for module, packing in (
        (HEAD, Quantization(64, 4, "affine")),
        (ROUTER, Quantization(64, 8, "affine")),
    ):
        assert checkpoint.quantization_of(module) == packing
        for suffix, dtype in (("weight", "U32"), ("scales", "BF16"), ("biases", "BF16")):
            name = f"{module}.{suffix}"
            assert checkpoint.dtype(name) == dtype
            assert checkpoint.nbytes_of(name) == stored[name].nbytes
            np.testing.assert_array_equal(bits_of(checkpoint.array(name)), stored[name])
    assert checkpoint.parameters[QKV_WEIGHT].quantization == Quantization(64, 4, "affine")
    assert open_checkpoint(root / "split").quantization_of(HEAD) is None


def test_a_module_quantized_to_mxfp4(copy: Callable[[str], Path]) -> None:
    """Its scales are bytes, and it has no biases."""
    folder = copy("split")
    weight = np.arange(64 * 8, dtype=np.uint32).reshape(64, 8)
    scales = np.full((64, 2), 121, np.uint8)
    edit(
        folder,
        lambda tensors: tensors.update(
            {f"{HEAD}.weight": weight, f"{HEAD}.scales": scales}
        ),
    )

    checkpoint = open_checkpoint(folder)

    assert checkpoint.quantization_of(HEAD) == Quantization(32, 4, "mxfp4")
    assert checkpoint.dtype(f"{HEAD}.scales") == "U8"
    assert checkpoint.array(f"{HEAD}.weight").tolist() == weight.tolist()


@pytest.mark.parametrize("layout", ["hf", "original", "split", "q4"])
def test_what_is_dropped_is_freed_and_can_be_asked_for_again(
    layout: str, root: Path
) -> None:
    """Reading a whole checkpoint twice needs no more memory than its largest tensor."""
    checkpoint = open_checkpoint(root / layout)
    gc.collect()
    before = mx.get_active_memory()

    def read(name: str) -> Array:
        array = checkpoint.array(name)
        mx.eval(array)
        bits = bits_of(array)
        del array
        mx.synchronize()  # a GPU lets go of inputs once it has ended
        assert mx.get_active_memory() == before, name
        return bits

    first = {name: read(name) for name in checkpoint.parameters}
    for name, bits in first.items():
        np.testing.assert_array_equal(read(name), bits)


def test_nothing_is_read_before_it_is_evaluated(root: Path) -> None:
    """Opening, and asking for every array, takes no memory for tensors."""
    before = mx.get_active_memory()
    checkpoint = open_checkpoint(root / "split")

    arrays = [checkpoint.array(name) for name in checkpoint.parameters]

    assert mx.get_active_memory() == before
    assert sum(array.nbytes for array in arrays) == checkpoint.nbytes


@pytest.mark.parametrize("what", ["gone", "shorter", "empty"])
def test_a_file_that_changed_since_it_was_opened(
    what: str, copy: Callable[[str], Path]
) -> None:
    """A disk that was pulled out is a named error, with the file."""
    folder = copy("hf")
    checkpoint = open_checkpoint(folder)
    if what == "gone":
        (folder / MODEL).unlink()
    else:
        os.truncate(folder / MODEL, 20_000 if what == "shorter" else 0)

    with pytest.raises(StorageError) as caught:
        checkpoint.array("model.norm.weight")

    path = re.escape(str(folder / MODEL))
    reason = "No such file or directory" if what == "gone" else "has changed since it .*"
    assert re.fullmatch(rf"{path}: {reason}\.", str(caught.value))


def test_a_file_that_was_replaced_since_it_was_opened(
    copy: Callable[[str], Path],
) -> None:
    """A tensor that is not in it any more is missed by name."""
    folder = copy("split")
    checkpoint = open_checkpoint(folder)
    write_safetensors(folder / "model.safetensors", {"x": np.zeros(2, np.float32)})

    with pytest.raises(StorageError, match=r"safetensors: has changed since it was opened"):
        checkpoint.array("model.norm.weight")


def test_a_file_cut_short_since_it_was_opened(copy: Callable[[str], Path]) -> None:
    """It is refused before a byte of it is taken for a tensor's."""
    checkpoint = open_checkpoint(copy("hf"))
    tensor = checkpoint.files[BLOCKS]
    os.truncate(tensor.path, tensor.start + 5)

    with pytest.raises(CorruptFileError) as caught:
        list(checkpoint.chunks(BLOCKS))

    assert str(caught.value) == (f"{tensor.path}: changed while it was read.")


# Tensors that are not what config.json implies.


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
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor {name!r} is not implied by config.json.",
    )


def test_experts_both_split_and_not(copy: Callable[[str], Path], released: Tensors) -> None:
    """The split one is extra."""
    folder = copy("split")
    extra = {name: tensor for name, tensor in released.items() if ".experts." in name}
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
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor {name!r} must have dtype {expected} but has {actual}.",
    )


def test_float32_tensors_are_read_as_such(
    copy: Callable[[str], Path], released: Tensors
) -> None:
    """A fine-tune may hold its norms in float32."""
    folder = copy("hf")
    name = "model.norm.weight"
    values = np.linspace(0, 1, 64, dtype=np.float32)
    edit(folder, lambda tensors: tensors.update({name: values}))

    checkpoint = open_checkpoint(folder)

    assert checkpoint.dtype(name) == "F32"
    assert checkpoint.nbytes_of(name) == 2 * released[name].nbytes
    assert checkpoint.array(name).tolist() == values.tolist()


# A quantization dictionary that does not describe the tensors.


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
        folder,
        QuantizationError,
        f"{folder / 'config.json'}: quantization of "
        "'model.layers.0.mlp.experts.gate_proj' must have mode 'mxfp4' but has 'affine'.",
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
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor '{module}.scales' must have dtype U8 but has BF16.",
    )


def test_a_checkpoint_can_be_shown(root: Path) -> None:
    """Its repr does not hold what MLX has opened."""
    checkpoint = open_checkpoint(root / "hf")
    checkpoint.array("model.norm.weight")

    assert isinstance(checkpoint, Checkpoint)
    assert "_lazy" not in repr(checkpoint)


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
