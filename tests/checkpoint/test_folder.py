from __future__ import annotations

import gc
import io
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from folders import read_bytes
from small_checkpoint import BLOCKS, HEAD, MODEL, ROUTER, Array, Tensors, edit
from tiny_checkpoint import read_tensors, write_safetensors

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.config import Quantization
from gptoss_mlx.errors import CheckpointError, ConfigError, CorruptFileError, StorageError

QKV_WEIGHT = "model.layers.0.self_attn.qkv_proj.weight"


def bits_of(array: mx.array) -> Array:
    """An array's values; bfloat16 as its bits."""
    return np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)


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
    layout: str, root: Path, released_tensors: Tensors
) -> None:
    """Names, dtypes, shapes and values are those it computes with."""
    checkpoint = open_checkpoint(root / layout)
    expected = parameters_of(released_tensors)

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
    layout: str, root: Path, released_tensors: Tensors
) -> None:
    """A tensor that lies in one piece is read from the file as it is."""
    checkpoint = open_checkpoint(root / layout)

    assert checkpoint.views.keys() == released_tensors.keys()
    for name, expected in released_tensors.items():
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
    assert checkpoint.nbytes == sum(tensor.nbytes for tensor in released_tensors.values())


def test_a_tensor_in_two_pieces_has_no_bytes_of_its_own(root: Path) -> None:
    """Gate and up must be interleaved first: a caller's mistake is named."""
    checkpoint = open_checkpoint(root / "split")

    with pytest.raises(ValueError, match=r"\[chunks\] .*blocks must be in one piece"):
        checkpoint.chunks(BLOCKS)


def test_query_key_and_value_are_rows_of_one_tensor(
    root: Path, released_tensors: Tensors
) -> None:
    """OpenAI stores the three as one: their bytes are found inside it, in this order."""
    checkpoint = open_checkpoint(root / "original")
    prefix = "model.layers.1.self_attn"
    names = [f"{prefix}.{letter}_proj.weight" for letter in "qkv"]
    read = b"".join(chunk for name in names for chunk in checkpoint.chunks(name))

    whole = read_tensors(root / "original" / MODEL)["block.1.attn.qkv.weight"]
    assert read == whole.tobytes()
    assert [checkpoint.views[name].first_row for name in names] == [0, 64, 96]
    assert [len(released_tensors[name]) for name in names] == [64, 32, 32]


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


def test_float32_tensors_are_read_as_such(
    copy: Callable[[str], Path], released_tensors: Tensors
) -> None:
    """A fine-tune may hold its norms in float32."""
    folder = copy("hf")
    name = "model.norm.weight"
    values = np.linspace(0, 1, 64, dtype=np.float32)
    edit(folder, lambda tensors: tensors.update({name: values}))

    checkpoint = open_checkpoint(folder)

    assert checkpoint.dtype(name) == "F32"
    assert checkpoint.nbytes_of(name) == 2 * released_tensors[name].nbytes
    assert checkpoint.array(name).tolist() == values.tolist()


def test_a_checkpoint_can_be_shown(root: Path) -> None:
    """Its repr does not hold what MLX has opened."""
    checkpoint = open_checkpoint(root / "hf")
    checkpoint.array("model.norm.weight")

    assert isinstance(checkpoint, Checkpoint)
    assert "_lazy" not in repr(checkpoint)


@pytest.mark.parametrize("damaged", [MODEL, "config.json"])
def test_a_damaged_conversion_is_not_to_be_downloaded(
    root: Path, tmp_path: Path, damaged: str
) -> None:
    """The hint names the command that tells what differs; a release's, the download."""
    folder = tmp_path / "ours"
    shutil.copytree(root / "hf", folder)
    os.truncate(folder / damaged, 20)

    with pytest.raises((CheckpointError, ConfigError)) as released:
        open_checkpoint(folder)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises((CheckpointError, ConfigError)) as converted:
        open_checkpoint(folder)

    assert released.value.hint.startswith("Download ")
    assert converted.value.hint.endswith(f"gptoss-mlx verify {folder}")
    assert converted.value.__notes__ == [f"Hint: {converted.value.hint}"]
