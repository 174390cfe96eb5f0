"""A header of a safetensors file that is none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from two_tensors import DATA, ENTRIES, HEADER, changed, refused_file, write

from gptoss_mlx.checkpoint.safetensors import read_header
from gptoss_mlx.errors import CorruptFileError

# The whole header.


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
    refused_file(write(path, header), f"the header must be JSON: {reason}")


@pytest.mark.parametrize("header", [[], [ENTRIES], None, 4, "text"])
def test_a_header_that_is_no_object(path: Path, header: object) -> None:
    """Only an object can name tensors."""
    refused_file(write(path, header), "the header must be a JSON object.")


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
    refused_file(
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
    refused_file(
        write(path, HEADER.replace(b'"b"', b'"a"')), "the header must name 'a' once."
    )


def test_a_field_twice(path: Path) -> None:
    """Also inside an entry."""
    refused_file(
        write(path, HEADER.replace(b'"shape": [4]', b'"shape": [4], "shape": [4]')),
        "the header must name 'shape' once.",
    )


def test_a_name_twice_among_a_hundred_thousand(path: Path) -> None:
    """Finding it takes no longer than reading them."""
    names = ", ".join(f'"{i}": 0' for i in [*range(100_000), 99_999])
    started = time.perf_counter()

    refused_file(write(path, f"{{{names}}}".encode()), "the header must name '99999' once.")
    assert time.perf_counter() - started < 5


# An entry.


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
    refused_file(
        write(path, {**ENTRIES, "b": entry}),
        "tensor 'b' must have dtype, shape and data_offsets and nothing else.",
    )


@pytest.mark.parametrize("dtype", ["u8", "F4", "", "U8 ", None, 8, ["U8"]])
def test_a_dtype_that_is_unknown(path: Path, dtype: object) -> None:
    """The message shows it."""
    refused_file(
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
    refused_file(
        write(path, changed(shape=shape)),
        "tensor 'b' must have a shape of at most 8 whole numbers "
        f"but has {json.loads(json.dumps(shape))!r}.",
    )


def test_a_shape_too_large_to_print(path: Path) -> None:
    """The message is cut to a line."""
    header = json.dumps(changed(shape="HERE")).replace('"HERE"', f"[{'9' * 4_000}]")

    refused_file(
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
    refused_file(
        write(path, changed(data_offsets=offsets)),
        f"tensor 'b' must have two rising data_offsets but has {offsets!r}.",
    )


@pytest.mark.parametrize("end", [17, 1 << 63, 1 << 64, 10**70])
def test_offsets_past_the_end(path: Path, end: int) -> None:
    """MLX would read what is not there."""
    refused_file(
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
    refused_file(write(path, changed(**fields)), f"tensor 'b' of dtype {reason}")


def test_tensors_that_overlap(path: Path) -> None:
    """The second of the two is named."""
    refused_file(
        write(path, changed(data_offsets=[11, 15])),
        "tensor 'b' must not overlap the one before.",
    )
    refused_file(
        write(path, {**ENTRIES, "c": ENTRIES["b"]}),
        "tensor 'c' must not overlap the one before.",
    )


def test_an_empty_tensor_inside_another(path: Path) -> None:
    """Even without bytes of its own, it must stand between two."""
    empty = {"dtype": "U8", "shape": [0], "data_offsets": [5, 5]}

    refused_file(
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

    refused_file(
        write(path, entries, DATA + b"\0"), f"tensor {name!r} must not follow a hole."
    )


@pytest.mark.parametrize("name", ["\ud800", "a\udfffb"])
def test_a_name_that_is_half_a_surrogate_pair(path: Path, name: str) -> None:
    """JSON can say it and MLX throws at it. The message can still be printed."""
    error = refused_file(
        write(path, {**ENTRIES, name: 1}),
        f"tensor {name!r} must have a name that is Unicode.",
    )

    assert str(error).encode()


def test_a_name_of_a_megabyte_is_cut(path: Path) -> None:
    """Nobody reads a message of a megabyte."""
    refused_file(
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
