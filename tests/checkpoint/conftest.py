from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_checkpoint import MODEL, Tensors, edit_table
from tiny_checkpoint import MXFP4, read_tensors, write_split_folder, write_tiny_checkpoint

from gptoss_mlx.checkpoint.layout import Layout


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def released_tensors(root: Path) -> Tensors:
    """The tensors as Hugging Face has them, read without the package."""
    return read_tensors(root / "hf" / MODEL)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copy one of the folders, to be changed."""
    return lambda name: Path(shutil.copytree(root / name, tmp_path / name))


@pytest.fixture(scope="session")
def sources(root: Path) -> dict[Layout, Path]:
    """One checkpoint in each layout, one file each."""
    return {
        Layout.HUGGING_FACE: root / "hf",
        Layout.OPENAI: root / "original",
        Layout.MLX: root / "split",
    }


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint as Hugging Face has it, to be changed."""
    return Path(shutil.copytree(root / "hf", tmp_path / "hf"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test writes its file."""
    return tmp_path / "model.safetensors"
