"""Reads the header of a safetensors file, and checks all of it.

MLX accepts a shape of [4.5] or an offset past the end of the file without an error, so
every field is checked here before MLX opens the file.

Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from gptoss_mlx.errors import CorruptFileError, WrongFileError
from gptoss_mlx.files import LFS_HINT, MAX_JSON_BYTES, FileIdentity, open_file, short

__all__ = [
    "DTYPE_BYTES",
    "MAX_HEADER_BYTES",
    "Header",
    "TensorInfo",
    "parse_header",
    "read_chunks",
    "read_header",
    "read_header_bytes",
]

DTYPE_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}

# The format's own reader accepts 100 MB. A gpt-oss model's largest header has 100 kB.
MAX_HEADER_BYTES = MAX_JSON_BYTES
MAX_DIMENSIONS = 8
MAX_DIMENSION = 1 << 40

# JSON can contain it, UTF-8 cannot, and MLX raises an error.
_HALF_OF_A_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """The place of one tensor.

    Attributes:
        dtype: The dtype in the file's spelling, e.g. ``BF16``.
        start: First byte, counted from the beginning of the file.
        nbytes: Length in bytes.
        identity: Identity of the file whose header was read, to notice a replaced file.
            None: unknown.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    nbytes: int
    identity: FileIdentity | None = field(default=None, compare=False, repr=False)


class Header(NamedTuple):
    """A header that was read before its file was removed.

    Attributes:
        content: Its JSON.
        file_bytes: Length of the whole file.
    """

    content: bytes
    file_bytes: int


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Read and check the header of ``path``, without reading a tensor.

    Returns:
        The file's tensors in the order of their bytes.

    Raises:
        CorruptFileError: The file is truncated, or its header contradicts the format, the
            file or itself. The message names the tensor.
        StorageError: The file cannot be read.
    """
    content, identity = read_header_bytes(path)
    return parse_header(content, path, identity.nbytes, identity)


def parse_header(
    content: bytes, path: Path, file_bytes: int, identity: FileIdentity | None = None
) -> dict[str, TensorInfo]:
    """Check a header that was read before; its file may be gone.

    Args:
        content: The header's JSON.
        path: Path of the file.
        file_bytes: Length of the file.
        identity: The file's identity; None if there is no such file any more.

    Returns:
        The file's tensors in the order of their bytes.

    Raises:
        CorruptFileError: The header contradicts the format, the length or itself.
    """
    entries = _parse(content, path)
    data_start = 8 + len(content)
    tensors = [
        replace(_tensor(name, entry, path, data_start, file_bytes), identity=identity)
        for name, entry in entries.items()
    ]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.nbytes))
    _check_cover(tensors, path, data_start, file_bytes)
    return {tensor.name: tensor for tensor in tensors}


def read_header_bytes(path: Path) -> tuple[bytes, FileIdentity]:
    """Read the JSON of a file's header, and the file's identity.

    Raises:
        CorruptFileError: The file is truncated, or is none.
        StorageError: The file cannot be read.
    """
    try:
        return _read_header(path)
    except WrongFileError as error:
        raise CorruptFileError(path, "is not a file.") from error


def _read_header(path: Path) -> tuple[bytes, FileIdentity]:
    with open_file(path) as file:
        identity = FileIdentity.of(os.fstat(file.fileno()))
        file_bytes = identity.nbytes
        prefix = file.read(8)
        if len(prefix) < 8:
            raise CorruptFileError(
                path, f"must be at least 8 bytes long but has {file_bytes}."
            )
        header_bytes = int.from_bytes(prefix, "little")
        if header_bytes > MAX_HEADER_BYTES:
            raise CorruptFileError(
                path,
                f"must have a header of at most {MAX_HEADER_BYTES:,} bytes "
                f"but has {header_bytes:,}.",
                hint=LFS_HINT if prefix == b"version " else None,
            )
        # Never read more than the file has: the buffer is allocated first.
        content = file.read(min(header_bytes, file_bytes))
    if len(content) < header_bytes:
        raise CorruptFileError(
            path,
            f"the header must have {header_bytes:,} bytes but the file ends after "
            f"{len(content):,}.",
        )
    return content, identity


def read_chunks(
    tensor: TensorInfo, first: int, nbytes: int, *, chunk_bytes: int = 16 << 20
) -> Generator[bytes]:
    """Read ``nbytes`` bytes of ``tensor`` from byte ``first`` on, a chunk at a time.

    Raises:
        CorruptFileError: The file has changed since its header was read.
        StorageError: The file cannot be read.
    """
    with open_file(tensor.path) as file:
        found = FileIdentity.of(os.fstat(file.fileno()))
        if tensor.identity not in (None, found):
            raise CorruptFileError(
                tensor.path,
                "changed while it was read.",
                hint="Run the same command again, once nothing writes to that file.",
            )
        file.seek(tensor.start + first)
        while nbytes:
            chunk = file.read(min(chunk_bytes, nbytes))
            if not chunk:
                raise CorruptFileError(
                    tensor.path, f"ends inside the tensor {tensor.name!r}."
                )
            nbytes -= len(chunk)
            yield chunk


def _parse(content: bytes, path: Path) -> dict[str, Any]:
    def refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for name, value in pairs:
            if name in entries:
                raise CorruptFileError(path, f"the header must name {short(name)} once.")
            entries[name] = value
        return entries

    try:
        # json.loads would accept UTF-16, which MLX does not.
        entries = json.loads(content.decode(), object_pairs_hook=refuse_twice)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(path, f"the header must be JSON: {error}.") from error
    if not isinstance(entries, dict):
        raise CorruptFileError(path, "the header must be a JSON object.")
    # MLX writes null for missing metadata.
    metadata = entries.pop("__metadata__", None)
    if metadata is None:
        return entries
    if not isinstance(metadata, dict) or not all(
        _is_text(text) for pair in metadata.items() for text in pair
    ):
        raise CorruptFileError(path, "__metadata__ must map strings to strings.")
    return entries


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _HALF_OF_A_PAIR.search(value)


def _tensor(
    name: str, entry: Any, path: Path, data_start: int, file_bytes: int
) -> TensorInfo:
    data_bytes = file_bytes - data_start

    def refuse(rule: str) -> CorruptFileError:
        return CorruptFileError(path, f"tensor {short(name)} {rule}")

    if not _is_text(name):
        raise refuse("must have a name that is Unicode.")
    if not isinstance(entry, dict) or entry.keys() != {
        "dtype",
        "shape",
        "data_offsets",
    }:
        raise refuse("must have dtype, shape and data_offsets and nothing else.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise refuse(f"must have a known dtype but has {short(dtype)}.")
    if (
        not _are_counts(shape)
        or len(shape) > MAX_DIMENSIONS
        or any(size > MAX_DIMENSION for size in shape)
    ):
        raise refuse(
            f"must have a shape of at most {MAX_DIMENSIONS} whole numbers "
            f"but has {short(shape)}."
        )
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise refuse(f"must have two rising data_offsets but has {short(offsets)}.")
    first, end = offsets
    if end > data_bytes:
        raise refuse(
            f"must end within the file's {data_bytes:,} bytes of data but ends at "
            f"{short(end)}: the file is truncated, or its header is wrong."
        )
    nbytes = math.prod(shape) * DTYPE_BYTES[dtype]
    if nbytes != end - first:
        raise refuse(
            f"of dtype {dtype} and shape {short(shape)} must have {nbytes:,} bytes "
            f"but its data_offsets give {end - first:,}."
        )
    return TensorInfo(name, dtype, tuple(shape), path, data_start + first, nbytes)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and item >= 0 for item in value
    )


def _check_cover(
    tensors: list[TensorInfo], path: Path, data_start: int, file_bytes: int
) -> None:
    """Refuse overlaps, gaps and bytes that belong to no tensor."""
    end = data_start
    for tensor in tensors:
        if tensor.start != end:
            what = "overlap the one before" if tensor.start < end else "follow a hole"
            raise CorruptFileError(path, f"tensor {short(tensor.name)} must not {what}.")
        end += tensor.nbytes
    if end != file_bytes:
        raise CorruptFileError(
            path, f"must end after its last tensor, at {end:,}, but has {file_bytes:,}."
        )
