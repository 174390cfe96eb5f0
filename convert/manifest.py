"""manifest.json: what a converted folder holds, and what it was made from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptoss_mlx.errors import ConfigError, VerifyError, storage_errors
from gptoss_mlx.files import read_json_object

from .provenance import Provenance

__all__ = ["MANIFEST", "FileEntry", "Manifest", "TensorEntry", "read_manifest"]

MANIFEST = "manifest.json"
FORMAT = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the folder: its length in bytes and its digest."""

    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor: the file it is in, and the digest of its bytes there."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder holds.

    Attributes:
        source: What it was made from.
        recipe: Name of the recipe it was made by.
        made_by: Versions of the packages that made it.
        files: Every file but the manifest, by name.
        tensors: Every tensor of the files, by name.
    """

    source: Provenance
    recipe: str
    made_by: Mapping[str, str]
    files: Mapping[str, FileEntry]
    tensors: Mapping[str, TensorEntry]

    def encode(self) -> bytes:
        """Return manifest.json's content: the same for the same folder."""
        keys = {
            "format": FORMAT,
            "made_by": dict(self.made_by),
            "source": asdict(self.source),
            "recipe": self.recipe,
            "files": {
                name: {"bytes": file.nbytes, "sha256": file.sha256}
                for name, file in sorted(self.files.items())
            },
            "tensors": {
                name: asdict(tensor) for name, tensor in sorted(self.tensors.items())
            },
        }
        return json.dumps(keys, indent=1).encode() + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """Read ``folder``'s manifest, and believe none of it unchecked.

    Raises:
        VerifyError: There is none, or it is no manifest of this format.
        StorageError: It cannot be read.
    """
    path = folder / MANIFEST
    with storage_errors(path):
        if not path.is_file():
            raise VerifyError(
                f"{folder} must have a {MANIFEST} but has none.",
                hint="Name a folder that gptoss-mlx convert has written.",
            )
    try:
        keys = read_json_object(path)
    except ConfigError as error:
        raise VerifyError(str(error)) from error
    if keys.get("format") != FORMAT:
        raise VerifyError(
            f"{path}: format must be {FORMAT} but is {str(keys.get('format'))[:40]}.",
            hint="Upgrade gptoss-mlx: another version has written this folder.",
        )
    try:
        return _parse(keys)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise VerifyError(
            f"{path}: must be as gptoss-mlx convert writes it but is not: {error!r}."
        ) from error


def _parse(keys: Mapping[str, Any]) -> Manifest:
    source = {key: keys["source"][key] for key in Provenance.__slots__}
    files = {
        _file_name(name): FileEntry(_count(entry["bytes"]), _digest(entry["sha256"]))
        for name, entry in keys["files"].items()
    }
    tensors = {
        name: TensorEntry(
            _file_name(entry["file"]),
            str(entry["dtype"]),
            tuple(_counts(entry["shape"])),
            _digest(entry["sha256"]),
        )
        for name, entry in keys["tensors"].items()
    }
    for name, tensor in tensors.items():
        if tensor.file not in files:
            raise ValueError(f"{name!r} is in {tensor.file!r}, which files lack")
    made_by = {str(name): str(version) for name, version in keys["made_by"].items()}
    return Manifest(Provenance(**source), str(keys["recipe"]), made_by, files, tensors)


def _file_name(value: Any) -> str:
    # A name with a separator could lead out of the folder.
    if not isinstance(value, str) or value in ("", ".", "..") or set(value) & set("/\\\0"):
        raise ValueError(f"{str(value)[:40]!r} is no file name")
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"{str(value)[:40]!r} is no sha256")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{str(value)[:40]!r} is no count")
    return value


def _counts(values: Any) -> Iterator[int]:
    if not isinstance(values, list):
        raise ValueError(f"{str(values)[:40]!r} is no list")
    return map(_count, values)
