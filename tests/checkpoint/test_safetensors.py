from __future__ import annotations

import errno
import io
import os
import re
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from tiny_checkpoint import write_safetensors
from two_tensors import DATA, ENTRIES, HEADER, refused_file, write

from gptoss_mlx.checkpoint.safetensors import (
    DTYPE_BYTES,
    MAX_HEADER_BYTES,
    TensorInfo,
    read_chunks,
    read_header,
)
from gptoss_mlx.errors import CorruptFileError, NoPermissionError, StorageError

# What is read.


def test_a_header_says_where_each_tensor_lies(path: Path) -> None:
    """Name, dtype, shape, first byte in the file and length."""
    start = 8 + len(HEADER)

    assert read_header(write(path, ENTRIES)) == {
        "a": TensorInfo("a", "BF16", (2, 3), path, start, 12),
        "b": TensorInfo("b", "U8", (4,), path, start + 12, 4),
    }


def test_what_was_written_is_what_is_read(path: Path) -> None:
    """Names, shapes and bytes of a file come back, in the order of the bytes."""
    random = np.random.RandomState(0)
    tensors: dict[str, npt.NDArray[Any]] = {
        "model.b": random.randint(0, 256, (3, 5)).astype(np.uint8),
        "model.a": random.randint(0, 1 << 16, (2, 1, 4)).astype(np.uint16),
        "scalar": np.array(3, np.uint16),
        "ü 名": random.standard_normal(7).astype(np.float32),
    }
    write_safetensors(path, tensors)

    header = read_header(path)

    assert list(header) == ["ü 名", "model.a", "scalar", "model.b"]
    for name, tensor in tensors.items():
        info = header[name]
        assert info.shape == tensor.shape
        assert b"".join(read_chunks(info, 0, info.nbytes)) == tensor.tobytes()


@pytest.mark.parametrize("chunk_bytes", [1, 5, 12, 100])
def test_bytes_are_read_a_piece_at_a_time(path: Path, chunk_bytes: int) -> None:
    """No piece is longer than asked for, and together they are the bytes."""
    tensor = read_header(write(path, ENTRIES))["a"]

    pieces = list(read_chunks(tensor, 3, 7, chunk_bytes=chunk_bytes))

    assert max(len(piece) for piece in pieces) <= chunk_bytes
    assert b"".join(pieces) == DATA[3:10]


@pytest.mark.parametrize("padding", [b"   ", b"\n\n", b"\r\n\t "])
def test_whitespace_around_the_header_is_no_harm(path: Path, padding: bytes) -> None:
    """Writers pad the header so that the data is aligned."""
    content = padding + HEADER + padding

    header = read_header(write(path, content))

    assert header["a"].start == 8 + len(content)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"a": "名", "b": ""}])
def test_metadata_is_no_tensor(path: Path, metadata: dict[str, str] | None) -> None:
    """It may stand first or last, and MLX reads the file too."""
    assert list(read_header(write(path, {"__metadata__": metadata, **ENTRIES}))) == [
        "a",
        "b",
    ]
    assert list(read_header(write(path, {**ENTRIES, "__metadata__": metadata}))) == [
        "a",
        "b",
    ]
    loaded = mx.load(str(path))
    assert isinstance(loaded, dict)
    assert sorted(loaded) == ["a", "b"]


def test_the_entries_may_stand_in_any_order(path: Path) -> None:
    """The bytes decide the order."""
    assert list(read_header(write(path, dict(reversed(ENTRIES.items()))))) == ["a", "b"]


def test_a_tensor_of_no_elements(path: Path) -> None:
    """It takes no bytes, wherever it stands between others."""
    empty = {"dtype": "F32", "shape": [0, 5], "data_offsets": [12, 12]}

    header = read_header(write(path, {**ENTRIES, "empty": empty}))

    assert header["empty"].nbytes == 0
    assert list(header) == ["a", "empty", "b"]


def test_a_file_of_no_tensors(path: Path) -> None:
    """It is a whole file."""
    assert read_header(write(path, {}, b"")) == {}


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_every_dtype_has_its_size(path: Path, dtype: str) -> None:
    """Three values take three times that many bytes, and no other number."""
    nbytes = 3 * DTYPE_BYTES[dtype]
    entry = {"dtype": dtype, "shape": [3], "data_offsets": [0, nbytes]}

    assert read_header(write(path, {"a": entry}, bytes(nbytes)))["a"].nbytes == nbytes
    entry["data_offsets"] = [0, nbytes + 1]
    refused_file(
        write(path, {"a": entry}, bytes(nbytes + 1)),
        f"tensor 'a' of dtype {dtype} and shape [3] must have {nbytes} bytes "
        f"but its data_offsets give {nbytes + 1}.",
    )


def test_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    """Hugging Face's cache holds nothing but links."""
    write(tmp_path / "blob", ENTRIES)
    path.symlink_to("blob")

    assert list(read_header(path)) == ["a", "b"]


# Cut short, or too long.


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_file_shorter_than_the_length_of_its_header(path: Path, length: int) -> None:
    """Also an empty one."""
    write(path, ENTRIES)
    os.truncate(path, length)

    refused_file(path, f"must be at least 8 bytes long but has {length}.")


@pytest.mark.parametrize("length", [0, 1, len(HEADER) - 1])
def test_a_file_cut_short_in_its_header(path: Path, length: int) -> None:
    """The message says how long the header is and how much of it is there."""
    write(path, ENTRIES)
    os.truncate(path, 8 + length)

    refused_file(
        path,
        f"the header must have {len(HEADER)} bytes but the file ends after {length}.",
    )


@pytest.mark.parametrize("length", [0, 11, 12, 15])
def test_a_file_cut_short_in_its_data(path: Path, length: int) -> None:
    """The first tensor that is not whole is named."""
    write(path, ENTRIES)
    os.truncate(path, 8 + len(HEADER) + length)
    name, end = ("a", 12) if length < 12 else ("b", 16)

    refused_file(
        path,
        f"tensor {name!r} must end within the file's {length} bytes of data but ends at "
        f"{end}: the file is truncated, or its header is wrong.",
    )


@pytest.mark.parametrize("more", [1, 1_000])
def test_a_file_with_more_bytes_than_tensors(path: Path, more: int) -> None:
    """Bytes that belong to no tensor say that header and data are not of one file."""
    end = 8 + len(HEADER) + 16

    refused_file(
        write(path, ENTRIES, DATA + bytes(more)),
        f"must end after its last tensor, at {end}, but has {end + more:,}.",
    )


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 1 << 63, (1 << 64) - 1])
def test_a_header_length_that_is_a_lie(path: Path, length: int) -> None:
    """No memory is asked for."""
    write(path, ENTRIES)
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])

    refused_file(
        path,
        f"must have a header of at most 8,388,608 bytes but has {length:,}.",
    )


@pytest.mark.parametrize("length", [0, 1, len(HEADER) - 1, len(HEADER) + 1])
def test_a_header_length_that_is_a_little_off(path: Path, length: int) -> None:
    """What is then taken for the header is no JSON."""
    write(path, ENTRIES)
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])

    with pytest.raises(CorruptFileError, match=r"safetensors: the header must be JSON: "):
        read_header(path)


def test_a_pointer_of_git_lfs_hints_at_git_lfs(path: Path) -> None:
    """A clone without Git LFS has small text files in place of the weights."""
    path.write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{'0' * 64}\nsize 4792272488\n"
    )

    error = refused_file(
        path,
        "must have a header of at most 8,388,608 bytes but has 2,336,927,755,350,992,246.",
    )

    assert error.hint == "Fetch the file itself: git lfs pull"


# What is no file, or cannot be read.


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_pipe_or_a_folder(path: Path, make: Any) -> None:
    """It is refused at once, where opening a pipe would wait for ever."""
    make(path)

    refused_file(path, "is not a file.")


def test_a_device(path: Path) -> None:
    """A file without end is none."""
    path.symlink_to("/dev/zero")

    refused_file(path, "is not a file.")


@pytest.mark.parametrize("target", [None, "missing", "model.safetensors"])
def test_a_file_that_is_not_there(path: Path, target: str | None) -> None:
    """Missing, a dangling link or a link to itself: what the system says, with the path."""
    if target:
        path.symlink_to(target)

    with pytest.raises(StorageError, match=f"^{re.escape(str(path))}: (No such|Too many)"):
        read_header(path)


def test_a_file_that_must_not_be_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission is a named error with the path, for the header and for the bytes."""
    tensor = read_header(write(path, ENTRIES))["a"]

    def refuse(name: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(name))

    monkeypatch.setattr(os, "open", refuse)
    for read in (lambda: read_header(path), lambda: list(read_chunks(tensor, 0, 12))):
        with pytest.raises(NoPermissionError) as caught:
            read()
        assert str(caught.value) == f"{path}: Permission denied."


def test_a_disk_that_fails_while_reading(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that comes with no file name gets the path."""
    tensor = read_header(write(path, ENTRIES))["a"]

    class Failing(io.FileIO):
        def read(self, *_: object) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("gptoss_mlx.files.open", lambda *_: Failing(path), raising=False)
    with pytest.raises(StorageError) as caught:
        list(read_chunks(tensor, 0, 12))
    assert str(caught.value) == f"{path}: Input/output error."


def test_a_file_that_became_shorter(path: Path) -> None:
    """It is not the one whose header was checked."""
    tensor = read_header(write(path, ENTRIES))["b"]
    os.truncate(path, tensor.start + 2)

    with pytest.raises(CorruptFileError) as caught:
        list(read_chunks(tensor, 0, tensor.nbytes))

    assert str(caught.value) == (f"{path}: changed while it was read.")


def test_a_file_that_was_replaced_by_one_of_the_same_size(path: Path) -> None:
    """The bytes of another file are not the tensor's."""
    tensor = read_header(write(path, ENTRIES))["b"]
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)

    with pytest.raises(CorruptFileError, match="changed while it was read"):
        list(read_chunks(tensor, 0, tensor.nbytes))
