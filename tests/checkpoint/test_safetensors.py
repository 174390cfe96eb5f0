from __future__ import annotations

import errno
import io
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from tiny_checkpoint import write_safetensors

from gptoss_mlx.checkpoint.safetensors import (
    DTYPE_BYTES,
    MAX_HEADER_BYTES,
    TensorInfo,
    read_chunks,
    read_header,
)
from gptoss_mlx.errors import (
    CorruptFileError,
    NoPermissionError,
    StorageError,
)

# Two tensors: 12 bytes, then 4.
ENTRIES: dict[str, Any] = {
    "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "U8", "shape": [4], "data_offsets": [12, 16]},
}
DATA = bytes(range(16))
HEADER = json.dumps(ENTRIES).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where each test writes its file."""
    return tmp_path / "model.safetensors"


def write(path: Path, header: object, data: bytes = DATA) -> Path:
    """Write a file; a header that is not bytes is written as JSON."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + data)
    return path


def changed(**fields: object) -> dict[str, Any]:
    """The entries, with fields of the second one replaced."""
    return {**ENTRIES, "b": {**ENTRIES["b"], **fields}}


def refused(path: Path, reason: str) -> CorruptFileError:
    """Assert that the file is refused with this reason after its path, and a hint."""
    with pytest.raises(CorruptFileError) as caught:
        read_header(path)
    assert str(caught.value) == f"{path}: {reason}"
    assert caught.value.path == path
    assert re.match("[A-Z]", caught.value.hint)
    return caught.value


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
    refused(
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

    refused(path, f"must be at least 8 bytes long but has {length}.")


@pytest.mark.parametrize("length", [0, 1, len(HEADER) - 1])
def test_a_file_cut_short_in_its_header(path: Path, length: int) -> None:
    """The message says how long the header is and how much of it is there."""
    write(path, ENTRIES)
    os.truncate(path, 8 + length)

    refused(
        path,
        f"the header must have {len(HEADER)} bytes but the file ends after {length}.",
    )


@pytest.mark.parametrize("length", [0, 11, 12, 15])
def test_a_file_cut_short_in_its_data(path: Path, length: int) -> None:
    """The first tensor that is not whole is named."""
    write(path, ENTRIES)
    os.truncate(path, 8 + len(HEADER) + length)
    name, end = ("a", 12) if length < 12 else ("b", 16)

    refused(
        path,
        f"tensor {name!r} must end within the file's {length} bytes of data but ends at "
        f"{end}: the file is truncated, or its header is wrong.",
    )


@pytest.mark.parametrize("more", [1, 1_000])
def test_a_file_with_more_bytes_than_tensors(path: Path, more: int) -> None:
    """Bytes that belong to no tensor say that header and data are not of one file."""
    end = 8 + len(HEADER) + 16

    refused(
        write(path, ENTRIES, DATA + bytes(more)),
        f"must end after its last tensor, at {end}, but has {end + more:,}.",
    )


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 1 << 63, (1 << 64) - 1])
def test_a_header_length_that_is_a_lie(path: Path, length: int) -> None:
    """No memory is asked for."""
    write(path, ENTRIES)
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])

    refused(
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

    error = refused(
        path,
        "must have a header of at most 8,388,608 bytes but has 2,336,927,755,350,992,246.",
    )

    assert error.hint == "Fetch the file itself: git lfs pull"


# A header that is none.


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)."),
        (b"\0" * 16, "Expecting value: line 1 column 1 (char 0)."),
        (
            HEADER + b"\0",
            f"Extra data: line 1 column {len(HEADER) + 1} (char {len(HEADER)}).",
        ),
        (b'{"a": ', "Expecting value: line 1 column 7 (char 6)."),
        (
            b'{"\xff": 1}',
            "'utf-8' codec can't decode byte 0xff in position 2: invalid start byte.",
        ),
        (
            json.dumps(ENTRIES).encode("utf-16"),
            "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte.",
        ),
    ],
)
def test_a_header_that_is_no_json(path: Path, header: bytes, reason: str) -> None:
    """UTF-8 JSON and nothing else: MLX reads no other."""
    refused(write(path, header), f"the header must be JSON: {reason}")


@pytest.mark.parametrize("header", [[], [ENTRIES], None, 4, "text"])
def test_a_header_that_is_no_object(path: Path, header: object) -> None:
    """Only an object can name tensors."""
    refused(write(path, header), "the header must be a JSON object.")


@pytest.mark.parametrize(
    "metadata",
    [
        "text",
        ["text"],
        {"a": 1},
        {"a": None},
        {"a": {"b": "c"}},
        {"a": float("nan")},
        {"a": "\ud800"},
        {"\udfff": "a"},
    ],
)
def test_metadata_other_than_strings(path: Path, metadata: object) -> None:
    """MLX would throw at it only when the first tensor is wanted."""
    refused(
        write(path, {"__metadata__": metadata, **ENTRIES}),
        "__metadata__ must map strings to strings.",
    )


def test_a_file_that_mlx_itself_has_written(tmp_path: Path) -> None:
    """It has null for metadata where it was given none."""
    path = tmp_path / "model.safetensors"
    mx.save_safetensors(str(path), {"a": mx.zeros((2, 3))})

    assert read_header(path)["a"].shape == (2, 3)


def test_a_name_twice(path: Path) -> None:
    """One of the two would silently be lost."""
    refused(write(path, HEADER.replace(b'"b"', b'"a"')), "the header must name 'a' once.")


def test_a_field_twice(path: Path) -> None:
    """Also inside an entry."""
    refused(
        write(path, HEADER.replace(b'"shape": [4]', b'"shape": [4], "shape": [4]')),
        "the header must name 'shape' once.",
    )


def test_a_name_twice_among_a_hundred_thousand(path: Path) -> None:
    """Finding it takes no longer than reading them."""
    names = ", ".join(f'"{i}": 0' for i in [*range(100_000), 99_999])
    started = time.perf_counter()

    refused(write(path, f"{{{names}}}".encode()), "the header must name '99999' once.")
    assert time.perf_counter() - started < 5


# An entry that is none.


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        "b",
        {},
        {"dtype": "U8", "shape": [4]},
        {"dtype": "U8", "data_offsets": [12, 16]},
        {"shape": [4], "data_offsets": [12, 16]},
        {**ENTRIES["b"], "more": 1},
    ],
)
def test_an_entry_with_other_fields(path: Path, entry: object) -> None:
    """An entry has the three fields and no fourth."""
    refused(
        write(path, {**ENTRIES, "b": entry}),
        "tensor 'b' must have dtype, shape and data_offsets and nothing else.",
    )


@pytest.mark.parametrize("dtype", ["u8", "F4", "", "U8 ", None, 8, ["U8"]])
def test_a_dtype_that_is_unknown(path: Path, dtype: object) -> None:
    """The message shows it."""
    refused(
        write(path, changed(dtype=dtype)),
        f"tensor 'b' must have a known dtype but has {dtype!r}.",
    )


@pytest.mark.parametrize(
    "shape",
    [
        [4.5],
        [4.0],
        [-4],
        [True, 4],
        ["4"],
        [None],
        [[4]],
        4,
        None,
        "4",
        {"0": 4},
        [1] * 9,
        [(1 << 40) + 1],
    ],
)
def test_a_shape_that_is_none(path: Path, shape: object) -> None:
    """Whole numbers, not too many and not too large: MLX would take 4.5."""
    refused(
        write(path, changed(shape=shape)),
        "tensor 'b' must have a shape of at most 8 whole numbers "
        f"but has {json.loads(json.dumps(shape))!r}.",
    )


def test_a_shape_too_large_to_print(path: Path) -> None:
    """The message is cut to a line."""
    header = json.dumps(changed(shape="HERE")).replace('"HERE"', f"[{'9' * 4_000}]")

    refused(
        write(path, header.encode()),
        f"tensor 'b' must have a shape of at most 8 whole numbers but has [{'9' * 76}....",
    )


@pytest.mark.parametrize(
    "offsets",
    [
        [16, 12],
        [-4, 0],
        [12, 16.0],
        [12, True],
        [12],
        [12, 14, 16],
        [],
        None,
        "12",
        [[12, 16]],
    ],
)
def test_offsets_that_are_none(path: Path, offsets: object) -> None:
    """Two whole numbers, the second not below the first."""
    refused(
        write(path, changed(data_offsets=offsets)),
        f"tensor 'b' must have two rising data_offsets but has {offsets!r}.",
    )


@pytest.mark.parametrize("end", [17, 1 << 63, 1 << 64, 10**70])
def test_offsets_past_the_end(path: Path, end: int) -> None:
    """MLX would read what is not there."""
    refused(
        write(path, changed(data_offsets=[12, end])),
        "tensor 'b' must end within the file's 16 bytes of data but ends at "
        f"{end}: the file is truncated, or its header is wrong.",
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"shape": [5]}, "U8 and shape [5] must have 5 bytes but its data_offsets give 4."),
        ({"shape": []}, "U8 and shape [] must have 1 bytes but its data_offsets give 4."),
        ({"shape": [0]}, "U8 and shape [0] must have 0 bytes but its data_offsets give 4."),
        (
            {"dtype": "F32"},
            "F32 and shape [4] must have 16 bytes but its data_offsets give 4.",
        ),
        (
            {"shape": [1 << 40] * 8},
            f"U8 and shape {str([1 << 40] * 8)[:77]}... must have {1 << 320:,} bytes "
            "but its data_offsets give 4.",
        ),
    ],
)
def test_offsets_that_do_not_fit_shape_and_dtype(
    path: Path, fields: dict[str, Any], reason: str
) -> None:
    """The message says both numbers of bytes."""
    refused(write(path, changed(**fields)), f"tensor 'b' of dtype {reason}")


def test_tensors_that_overlap(path: Path) -> None:
    """The second of the two is named."""
    refused(
        write(path, changed(data_offsets=[11, 15])),
        "tensor 'b' must not overlap the one before.",
    )
    refused(
        write(path, {**ENTRIES, "c": ENTRIES["b"]}),
        "tensor 'c' must not overlap the one before.",
    )


def test_an_empty_tensor_inside_another(path: Path) -> None:
    """Even without bytes of its own, it must stand between two."""
    empty = {"dtype": "U8", "shape": [0], "data_offsets": [5, 5]}

    refused(
        write(path, {**ENTRIES, "empty": empty}),
        "tensor 'empty' must not overlap the one before.",
    )


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_hole_between_tensors(path: Path, name: str) -> None:
    """Also one before the first: the tensor after it is named."""
    entries: dict[str, Any] = json.loads(HEADER)
    for other in ("a", "b"):
        if other >= name:
            first, end = entries[other]["data_offsets"]
            entries[other]["data_offsets"] = [first + 1, end + 1]

    refused(write(path, entries, DATA + b"\0"), f"tensor {name!r} must not follow a hole.")


@pytest.mark.parametrize("name", ["\ud800", "a\udfffb"])
def test_a_name_that_is_half_a_surrogate_pair(path: Path, name: str) -> None:
    """JSON can say it and MLX throws at it. The message can still be printed."""
    error = refused(
        write(path, {**ENTRIES, name: 1}),
        f"tensor {name!r} must have a name that is Unicode.",
    )

    assert str(error).encode()


def test_a_name_of_a_megabyte_is_cut(path: Path) -> None:
    """Nobody reads a message of a megabyte."""
    refused(
        write(path, {"x" * (1 << 20): 1}),
        f"tensor '{'x' * 76}... must have dtype, shape and data_offsets and nothing else.",
    )


@pytest.mark.parametrize("depth", [900, 940, 960, 980, 1_000, 100_000])
@pytest.mark.parametrize("field", ["dtype", "shape", "data_offsets"])
def test_deep_nesting(path: Path, field: str, depth: int) -> None:
    """Neither the parser nor the message falls over it."""
    header = json.dumps(changed(**{field: "HERE"}))
    write(path, header.replace('"HERE"', "[" * depth + "]" * depth).encode())

    with pytest.raises(CorruptFileError) as caught:
        read_header(path)

    assert len(str(caught.value)) <= len(str(path)) + 200


# What is no file, or cannot be read.


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_pipe_or_a_folder(path: Path, make: Any) -> None:
    """It is refused at once, where opening a pipe would wait for ever."""
    make(path)

    refused(path, "is not a file.")


def test_a_device(path: Path) -> None:
    """A file without end is none."""
    path.symlink_to("/dev/zero")

    refused(path, "is not a file.")


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
