"""Checkpoints of which some files are gone, but not their headers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_checkpoint import MODEL, deal, write_shards
from tiny_checkpoint import read_tensors, write_tiny_checkpoint

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.safetensors import Header, read_header_bytes
from gptoss_mlx.errors import CheckpointError, CorruptFileError, StorageError

FILES = ["model-1.safetensors", "model-2.safetensors"]


@pytest.fixture(params=[True, False], ids=["index", "no index"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A checkpoint in two files."""
    write_tiny_checkpoint(tmp_path)
    shutil.rmtree(tmp_path / "original")
    shards = deal(read_tensors(tmp_path / MODEL), FILES)
    write_shards(tmp_path, shards, index=request.param)
    return tmp_path


def remove(path: Path) -> Header:
    """Remove a file, and return its header."""
    content, identity = read_header_bytes(path)
    path.unlink()
    return Header(content, identity.nbytes)


def test_a_file_that_is_gone(folder: Path) -> None:
    """All tensors are listed as before; those of the file cannot be read."""
    before = open_checkpoint(folder)
    headers = {FILES[0]: remove(folder / FILES[0])}
    after = open_checkpoint(folder, headers=headers)

    assert after.files == before.files
    assert after.views == before.views
    for name, tensor in after.files.items():
        if tensor.path.name == FILES[0]:
            with pytest.raises(StorageError):
                list(after.chunks(name))
        else:
            assert b"".join(after.chunks(name))


def test_a_file_that_is_there_is_read_itself(folder: Path) -> None:
    """Its header counts, and not the recorded one."""
    header = Header(b"{}", 10)

    assert len(open_checkpoint(folder, headers={FILES[0]: header}).views) == 79


@pytest.mark.parametrize("change", ["length", "content"])
def test_a_recorded_header_that_is_wrong(folder: Path, change: str) -> None:
    """It is checked like any other."""
    header = remove(folder / FILES[0])
    if change == "length":
        header = header._replace(file_bytes=header.file_bytes + 1)
    else:
        header = header._replace(content=header.content[1:])
    with pytest.raises(CorruptFileError, match=FILES[0]):
        open_checkpoint(folder, headers={FILES[0]: header})


def test_a_recorded_file_that_must_not_be_read(folder: Path) -> None:
    """It is ignored as if it were there."""
    headers = {FILES[0]: remove(folder / FILES[0])}
    with pytest.raises(CheckpointError):
        open_checkpoint(folder, only=["config.json", FILES[1]], headers=headers)


def test_the_place_of_a_tensor(tmp_path: Path) -> None:
    """Its file, and its first byte there: also of k, which is within a tensor."""
    write_tiny_checkpoint(tmp_path)
    for folder in (tmp_path, tmp_path / "original"):
        checkpoint = open_checkpoint(folder)
        for name in (
            "model.layers.1.self_attn.k_proj.weight",
            "model.layers.1.self_attn.v_proj.bias",
            "model.norm.weight",
        ):
            path, start = checkpoint.place(name)
            content = b"".join(checkpoint.chunks(name))
            assert path.read_bytes()[start : start + len(content)] == content
