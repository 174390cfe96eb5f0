"""Opening a checkpoint of which only some files may be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.errors import CheckpointError, NoCheckpointError


def test_other_files_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    """Weights and an index that are not named make no difference."""
    write_tiny_checkpoint(tmp_path)
    names = [path.name for path in tmp_path.iterdir()]
    (tmp_path / "model-9.safetensors").write_bytes(b"no tensors")
    if "model.safetensors.index.json" not in names:
        (tmp_path / "model.safetensors.index.json").write_text("nonsense")

    checkpoint = open_checkpoint(tmp_path, only=names)
    assert {tensor.path.name for tensor in checkpoint.files.values()} <= set(names)


def test_an_index_cannot_name_another_file(tmp_path: Path) -> None:
    """It is refused as if that were missing."""
    write_tiny_checkpoint(tmp_path)
    shard = next(tmp_path.glob("*.safetensors")).name
    index = {"weight_map": {"lm_head.weight": shard}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(CheckpointError):
        open_checkpoint(tmp_path, only=["config.json", "model.safetensors.index.json"])


def test_no_file_may_be_read(tmp_path: Path) -> None:
    """The folder then has no checkpoint."""
    write_tiny_checkpoint(tmp_path)

    with pytest.raises(NoCheckpointError):
        open_checkpoint(tmp_path, only=["config.json"])
