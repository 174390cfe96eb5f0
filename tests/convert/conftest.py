from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from small_checkpoint import MODEL, deal, write_shards
from small_conversion import SHARD_BYTES, Disk
from tiny_checkpoint import read_tensors, write_tiny_checkpoint

from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.tokenizer_files import tokenizer_json


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint as Hugging Face has it, ``original/`` inside. Not to be changed."""
    folder = tmp_path_factory.mktemp("released") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def sharded(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint in three files with an index, as it is released. Not to be changed."""
    folder = tmp_path_factory.mktemp("released") / "tiny-in-files"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("original"))
    names = [f"model-0000{i}-of-00002.safetensors" for i in range(3)]
    write_shards(folder, deal(read_tensors(folder / MODEL), names), index=True)
    return folder


@pytest.fixture(scope="session")
def exact(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint converted by ``exact``, in several files. Not to be changed."""
    folder = tmp_path_factory.mktemp("converted") / "tiny-exact"
    convert_checkpoint(source, folder, recipe="exact", shard_bytes=SHARD_BYTES)
    return folder


@pytest.fixture(scope="session")
def q8(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint converted by ``q8``, in several files. Not to be changed."""
    folder = tmp_path_factory.mktemp("converted") / "tiny-q8"
    convert_checkpoint(source, folder, recipe="q8", shard_bytes=SHARD_BYTES)
    return folder


@pytest.fixture(scope="session")
def released_tokenizer() -> bytes:
    """What is written as tokenizer.json, which takes a second to make."""
    content: bytes = tokenizer_json()
    return content


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk has room for small files, and for ``left`` bytes of safetensors."""
    disk = Disk()
    really_write = os.pwrite

    def pwrite(descriptor: int, content: memoryview, offset: int) -> int:
        if len(content) > disk.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        disk.left -= len(content)
        return really_write(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    return disk
