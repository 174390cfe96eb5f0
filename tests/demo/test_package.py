from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptoss_mlx.config_json import hugging_face_keys, read_config
from gptoss_mlx.demo import package as demo
from gptoss_mlx.demo.package import EMBEDDING, LM_HEAD, seeded_rows, unpack_demo
from gptoss_mlx.errors import DataError, StorageError
from gptoss_mlx.tokenizer import VOCAB_SIZE, load_tokenizer

Header = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model, unpacked."""
    folder = tmp_path_factory.mktemp("demo") / "released"
    unpack_demo(folder)
    return folder


@pytest.fixture(scope="module")
def header(folder: Path) -> Header:
    """The header of its one safetensors file, without the metadata."""
    content = (folder / "model.safetensors").open("rb")
    with content as file:
        length = struct.unpack("<Q", file.read(8))[0]
        tensors: Header = json.loads(file.read(length))
    del tensors["__metadata__"]
    return tensors


def table(folder: Path, header: Header, name: str) -> np.ndarray[Any, Any]:
    """Read the bits of a BF16 tensor."""
    path = folder / "model.safetensors"
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]
    begin, end = header[name]["data_offsets"]
    bits = np.fromfile(path, "<u2", (end - begin) // 2, offset=8 + length + begin)
    return bits.reshape(header[name]["shape"])


def test_it_unpacks_as_a_released_checkpoint(folder: Path, header: Header) -> None:
    """Names, shapes and dtypes are those of openai/gpt-oss, at config.json's sizes."""
    config = read_config(folder)
    H, E = config.hidden_size, config.num_local_experts
    inner = config.intermediate_size
    Q = config.num_attention_heads * config.head_dim
    KV = config.num_key_value_heads * config.head_dim
    V = config.vocab_size
    layer = {
        "input_layernorm.weight": ("BF16", [H]),
        "mlp.experts.down_proj_bias": ("BF16", [E, H]),
        "mlp.experts.down_proj_blocks": ("U8", [E, H, inner // 32, 16]),
        "mlp.experts.down_proj_scales": ("U8", [E, H, inner // 32]),
        "mlp.experts.gate_up_proj_bias": ("BF16", [E, 2 * inner]),
        "mlp.experts.gate_up_proj_blocks": ("U8", [E, 2 * inner, H // 32, 16]),
        "mlp.experts.gate_up_proj_scales": ("U8", [E, 2 * inner, H // 32]),
        "mlp.router.bias": ("BF16", [E]),
        "mlp.router.weight": ("BF16", [E, H]),
        "post_attention_layernorm.weight": ("BF16", [H]),
        "self_attn.k_proj.bias": ("BF16", [KV]),
        "self_attn.k_proj.weight": ("BF16", [KV, H]),
        "self_attn.o_proj.bias": ("BF16", [H]),
        "self_attn.o_proj.weight": ("BF16", [H, Q]),
        "self_attn.q_proj.bias": ("BF16", [Q]),
        "self_attn.q_proj.weight": ("BF16", [Q, H]),
        "self_attn.sinks": ("BF16", [config.num_attention_heads]),
        "self_attn.v_proj.bias": ("BF16", [KV]),
        "self_attn.v_proj.weight": ("BF16", [KV, H]),
    }
    expected = {EMBEDDING: ("BF16", [V, H]), LM_HEAD: ("BF16", [V, H])}
    expected["model.norm.weight"] = ("BF16", [H])
    for i in range(config.num_hidden_layers):
        expected |= {f"model.layers.{i}.{name}": entry for name, entry in layer.items()}

    found = {name: (entry["dtype"], entry["shape"]) for name, entry in header.items()}

    assert found == expected
    assert V == VOCAB_SIZE


def test_tensors_lie_as_in_a_released_file(folder: Path, header: Header) -> None:
    """BF16 before U8, by name, without gaps, up to the end of the file."""
    entries = sorted(header.items(), key=lambda item: (item[1]["dtype"], item[0]))
    offsets = [entry["data_offsets"] for _, entry in entries]
    path = folder / "model.safetensors"
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]

    assert list(header) == [name for name, _ in entries]
    assert [begin for begin, _ in offsets] == [0, *(end for _, end in offsets[:-1])]
    assert path.stat().st_size == 8 + length + offsets[-1][1]
    assert length % 8 == 0


def test_config_has_every_key_of_the_released_ones(folder: Path) -> None:
    """As in openai/gpt-oss-20b: another reader finds all that it looks for."""
    config = json.loads((folder / "config.json").read_text())

    assert config.pop("quantization_config")["quant_method"] == "mxfp4"
    assert config == hugging_face_keys(read_config(folder))


def test_it_answers_greedily_and_stops_where_a_turn_ends(folder: Path) -> None:
    """generation_config.json says so."""
    content = json.loads((folder / "generation_config.json").read_text())

    assert content["do_sample"] is False
    assert content["eos_token_id"] == [200002, 199999, 200012]


@pytest.mark.parametrize("name", [EMBEDDING, LM_HEAD])
def test_every_token_has_a_row(folder: Path, header: Header, name: str) -> None:
    """No row is zero, and hardly two are the same: unknown words are not invisible."""
    rows = table(folder, header, name)

    assert rows.astype(bool).any(axis=1).all()
    assert len(np.unique(rows, axis=0)) == VOCAB_SIZE


def test_rows_that_training_left_are_the_seeded_ones(folder: Path, header: Header) -> None:
    """lm_head's are the embedding's, an eighth as large; trained ones are neither."""
    embedding, lm_head = (table(folder, header, n) for n in (EMBEDDING, LM_HEAD))
    seeded = seeded_rows(EMBEDDING, *embedding.shape)
    changed = np.flatnonzero((embedding != seeded).any(axis=1))

    def values(bits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return (bits.astype(np.uint32) << 16).view(np.float32)

    untouched = np.setdiff1d(np.arange(VOCAB_SIZE), changed)
    np.testing.assert_array_equal(
        values(lm_head[untouched]) * 8, values(embedding[untouched])
    )
    assert set(load_tokenizer().encode("What is gpt-oss?")) <= set(changed)
    assert len(changed) < 5000


def test_seeded_rows_are_the_same_on_every_machine() -> None:
    """Their bits, fixed: another table would make the trained weights useless."""
    rows = seeded_rows(EMBEDDING, VOCAB_SIZE, 128)

    assert rows[0, :4].tolist() == [16190, 48924, 48958, 16108]
    assert hashlib.sha256(rows.tobytes()).hexdigest() == (
        "486384a909f92d194a44f92576d98ab0e7de7272ebed7ca2591a33c346163efa"
    )


def test_seeded_rows_are_evenly_spread() -> None:
    """Every integer from -128 to 127 comes as often, and bfloat16 holds it exactly."""
    bits = seeded_rows(EMBEDDING, VOCAB_SIZE, 128)
    integers = (bits.astype(np.uint32) << 16).view(np.float32) * 128
    found, counts = np.unique(integers, return_counts=True)

    np.testing.assert_array_equal(found, np.arange(-128, 128))
    assert counts.max() / counts.min() < 1.05


def test_a_changed_data_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is written."""
    (tmp_path / demo.DATA_FILE).write_bytes(b"something else")
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)

    with pytest.raises(DataError, match=f"must have sha256 {demo.DEMO_SHA256}"):
        unpack_demo(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_data_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a DataError, with the hint to install the package again."""
    monkeypatch.setattr("importlib.resources.files", lambda _: tmp_path)

    with pytest.raises(DataError, match=demo.DATA_FILE) as caught:
        unpack_demo(tmp_path / "out")
    assert "Reinstall" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in its place is a StorageError."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StorageError, match="file"):
        unpack_demo(tmp_path / "file")
