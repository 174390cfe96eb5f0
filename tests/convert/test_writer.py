from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from small_conversion import Disk

from gptoss_mlx.checkpoint.safetensors import read_header
from gptoss_mlx.convert.plan import OutputTensor
from gptoss_mlx.convert.writer import write_shard
from gptoss_mlx.errors import NoSpaceError

TENSORS = [
    OutputTensor("b.weight", "U32", (2, 3), "b.weight"),
    OutputTensor("a.weight", "BF16", (5,), "a.weight"),
    OutputTensor("c_blocks", "U8", (3,), "c_blocks"),
]
BYTES = {
    "b.weight": bytes(range(24)),
    "a.weight": bytes(range(10)),
    "c_blocks": b"\1\2\3",
}


def pieces_of(tensor: OutputTensor) -> Iterator[bytes]:
    """Gives a tensor in pieces of four bytes."""
    whole = BYTES[tensor.name]
    for first in range(0, len(whole), 4):
        yield whole[first : first + 4]


def test_what_is_written_piece_by_piece_reads_back(tmp_path: Path) -> None:
    """MLX and our own reader find the tensors, and the digests are of their bytes."""
    path = tmp_path / "model.safetensors"
    counts: list[int] = []
    written = write_shard(path, TENSORS, pieces_of, written=counts.append)
    content = path.read_bytes()
    loaded: Any
    loaded, metadata = mx.load(str(path), return_metadata=True)

    assert list(read_header(path)) == [tensor.name for tensor in TENSORS]
    assert metadata == {"format": "mlx"}
    assert loaded["c_blocks"].tolist() == [1, 2, 3]
    assert loaded["b.weight"].shape == (2, 3)
    assert (8 + int.from_bytes(content[:8], "little")) % 8 == 0
    assert written.nbytes == len(content)
    assert written.sha256 == hashlib.sha256(content).hexdigest()
    assert written.tensors == {
        name: hashlib.sha256(part).hexdigest() for name, part in BYTES.items()
    }
    assert sum(counts) == 37


@pytest.mark.parametrize("wrong", [b"", b"too long for it"])
def test_pieces_that_are_not_the_tensor(tmp_path: Path, wrong: bytes) -> None:
    """A file whose header would lie is not written without a word."""
    with pytest.raises(ValueError, match=r"c_blocks must have 3 bytes but got"):
        write_shard(tmp_path / "x", TENSORS[2:], lambda tensor: iter([wrong]))


def test_a_full_disk_is_named(tmp_path: Path, full_disk: Disk) -> None:
    """The system's error becomes a named error with the file's path."""
    path = tmp_path / "model.safetensors"
    with pytest.raises(NoSpaceError, match="No space left on device") as caught:
        write_shard(path, TENSORS, pieces_of)

    assert str(path) in str(caught.value)
    assert caught.value.hint == "Free some space, then run the same command again."
