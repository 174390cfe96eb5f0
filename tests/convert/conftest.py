from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from small_conversion import SHARD_BYTES
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.tokenizer_files import tokenizer_json


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint as Hugging Face has it, ``original/`` inside. Not to be changed."""
    folder = tmp_path_factory.mktemp("released") / "tiny"
    write_tiny_checkpoint(folder)
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
def full_disk(monkeypatch: pytest.MonkeyPatch) -> type[io.FileIO]:
    """The disk has room for small files, and for ``left`` bytes of safetensors."""

    class FullDisk(io.FileIO):
        left = 0

        def write(self, content: Any, /) -> int:
            count = memoryview(content).nbytes
            if count > FullDisk.left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            FullDisk.left -= count
            return super().write(content)

    really_open = Path.open

    def open_on_full_disk(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if path.suffix == ".safetensors" and mode == "wb":
            return FullDisk(path, mode)
        return really_open(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", open_on_full_disk)
    return FullDisk
