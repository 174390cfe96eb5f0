"""manifest.json: the contents of a converted folder, and their source."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gptoss_mlx.errors import ConfigError, VerifyError
from gptoss_mlx.files import (
    has_file,
    parse_json,
    read_json_object,
    short,
)

__all__ = [
    "MANIFEST",
    "MODEL_CARD",
    "FileEntry",
    "Manifest",
    "ManifestSummary",
    "Provenance",
    "SourceFile",
    "TensorEntry",
    "manifest_path",
    "mend_hint",
    "parse_manifest",
    "read_manifest",
    "read_summary",
]

MANIFEST = "manifest.json"
MODEL_CARD = "README.md"
FORMAT = 2
# Its folders have no manifest.sha256, and no source_files.
_FIRST_FORMAT = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of a checkpoint.

    Attributes:
        layout: ``huggingface`` or ``original``.
        repository: Its repository on the Hugging Face Hub, if known.
        revision: Commit of the repository, if known.
        folder: Name of its folder, without the path to it.
    """

    layout: str
    repository: str | None
    revision: str | None
    folder: str


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the folder: its length in bytes and its digest."""

    nbytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor: its file, and the digest of its bytes there."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A safetensors file of the source.

    Attributes:
        nbytes: Its length in bytes.
        sha256: The digest of the file that was converted; None if it was not computed.
        header: The JSON text of its header, from which the file can be put together again.
    """

    nbytes: int
    sha256: str | None
    header: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a folder.

    Attributes:
        source: The origin of the converted checkpoint.
        recipe: Name of the recipe.
        made_by: Versions of the packages used.
        files: Every file except the manifest and its digest, by name.
        tensors: Every tensor of the files, by name.
        source_files: The safetensors files of the source, by name. None are recorded in
            format 1, or if their headers are very large.
        format: The format of the file that was read.
    """

    source: Provenance
    recipe: str
    made_by: Mapping[str, str]
    files: Mapping[str, FileEntry]
    tensors: Mapping[str, TensorEntry]
    source_files: Mapping[str, SourceFile] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def has_digest(self) -> bool:
        """Whether a folder of its format has manifest.sha256."""
        return self.format != _FIRST_FORMAT

    def encode(self) -> bytes:
        """Return manifest.json's content, which is equal for equal folders."""
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
            "source_files": {
                name: {"bytes": file.nbytes, "sha256": file.sha256, "header": file.header}
                for name, file in sorted(self.source_files.items())
            },
        }
        return json.dumps(keys, indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class ManifestSummary:
    """A manifest without its tensors.

    Attributes:
        folder: Name of the converted checkpoint's folder; None if missing.
        recipe: Name of the recipe; None if missing.
        files: Every file except the manifest and its digest, by name.
    """

    folder: str | None
    recipe: str | None
    files: Mapping[str, FileEntry]


def read_manifest(folder: Path) -> Manifest:
    """Read ``folder``'s manifest, and check all of it except its digest.

    Raises:
        VerifyError: The file is missing, or not a manifest of a known format.
        StorageError: The file cannot be read.
    """
    path = manifest_path(folder)
    return _checked(_read(path), path)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest from elsewhere, and check all of it.

    Args:
        content: What manifest.json holds.
        where: Its place, for messages.

    Raises:
        VerifyError: It is not a manifest of this format.
    """
    try:
        keys = parse_json(content)
    except ValueError as error:
        raise VerifyError(f"{where}: must be JSON: {error}.") from error
    if not isinstance(keys, dict):
        raise VerifyError(f"{where}: must be a JSON object but is {short(keys)}.")
    return _checked(keys, where)


def read_summary(folder: Path) -> ManifestSummary | None:
    """Read the part of ``folder``'s manifest for the store; None without a manifest.

    A manifest of another format, or without some keys, is read as far as possible.

    Raises:
        VerifyError: It is not a JSON object, or lists a file outside the folder.
        StorageError: It cannot be read.
    """
    path = folder / MANIFEST
    if not has_file(path):
        return None
    keys = _read(path)
    source, recipe = keys.get("source"), keys.get("recipe")
    made_from = source.get("folder") if isinstance(source, dict) else None
    with _manifest_errors(path):
        return ManifestSummary(
            made_from if isinstance(made_from, str) else None,
            recipe if isinstance(recipe, str) else None,
            _parse_files(keys.get("files", {})),
        )


def _checked(keys: Mapping[str, Any], where: Path | str) -> Manifest:
    found = keys.get("format")
    if type(found) is not int or found not in (_FIRST_FORMAT, FORMAT):
        raise VerifyError(
            f"{where}: format must be at most {FORMAT} but is {short(found)}.",
            hint="Upgrade gptoss-mlx: another version has written this folder.",
        )
    with _manifest_errors(where):
        return _parse(keys)


def mend_hint(folder: Path) -> str | None:
    """Return what helps if a converted folder is damaged; None for any other folder."""
    if not has_file(folder / MANIFEST):
        return None
    name = shlex.quote(str(folder))
    return f"Convert it again; this tells which files differ: gptoss-mlx verify {name}"


def manifest_path(folder: Path) -> Path:
    """Return the path of ``folder``'s manifest.

    Raises:
        VerifyError: The folder has none.
        StorageError: The system does not allow a look.
    """
    path = folder / MANIFEST
    if not has_file(path):
        raise VerifyError(
            f"{folder} must have a {MANIFEST} but has none.",
            hint="Name a folder that gptoss-mlx convert has written.",
        )
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path)
    except ConfigError as error:
        raise VerifyError(str(error)) from error


@contextmanager
def _manifest_errors(path: Path | str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise VerifyError(
            f"{path}: is not a manifest of gptoss-mlx convert: {error!r}."
        ) from error


def _parse(keys: Mapping[str, Any]) -> Manifest:
    source = {key: keys["source"][key] for key in Provenance.__slots__}
    files = _parse_files(keys["files"])
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
    number = keys["format"]
    recorded = {} if number == _FIRST_FORMAT else _parse_source(keys["source_files"])
    return Manifest(
        Provenance(**source),
        str(keys["recipe"]),
        made_by,
        files,
        tensors,
        recorded,
        number,
    )


def _parse_source(entries: Any) -> dict[str, SourceFile]:
    return {
        _file_name(name): SourceFile(
            _count(entry["bytes"]),
            None if entry["sha256"] is None else _digest(entry["sha256"]),
            _text(entry["header"]),
        )
        for name, entry in entries.items()
    }


def _parse_files(entries: Any) -> dict[str, FileEntry]:
    return {
        _file_name(name): FileEntry(_count(entry["bytes"]), _digest(entry["sha256"]))
        for name, entry in entries.items()
    }


def _file_name(value: Any) -> str:
    # A name with a separator could point outside the folder.
    if not isinstance(value, str) or value in ("", ".", "..") or set(value) & set("/\\\0"):
        raise ValueError(f"{short(value)} is not a file name")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{short(value)} is not a text")
    value.encode()  # a half of a surrogate pair is none either: UnicodeEncodeError
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"{short(value)} is not a sha256")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise ValueError(f"{short(value)} is not a count")
    return value


def _counts(values: Any) -> Iterator[int]:
    if not isinstance(values, list):
        raise ValueError(f"{short(values)} is not a list")
    return map(_count, values)
