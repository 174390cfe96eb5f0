"""A safetensors file of two tensors, right and wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from refusals import refused

from gptoss_mlx.checkpoint.safetensors import read_header
from gptoss_mlx.errors import CorruptFileError

# Two tensors: 12 bytes, then 4.
ENTRIES: dict[str, Any] = {
    "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "U8", "shape": [4], "data_offsets": [12, 16]},
}
DATA = bytes(range(16))
HEADER = json.dumps(ENTRIES).encode()


def write(path: Path, header: object, data: bytes = DATA) -> Path:
    """Write a file; a header that is not bytes is written as JSON."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(content).to_bytes(8, "little") + content + data)
    return path


def changed(**fields: object) -> dict[str, Any]:
    """The entries, with fields of the second one replaced."""
    return {**ENTRIES, "b": {**ENTRIES["b"], **fields}}


def refused_file(path: Path, reason: str) -> CorruptFileError:
    """Assert that the file is refused with this reason after its path, and a hint."""
    error = refused(read_header, path, CorruptFileError, f"{path}: {reason}")
    assert error.path == path
    return error
