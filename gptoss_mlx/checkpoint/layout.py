"""Detects the layout of a checkpoint, and lists its tensors.

Source: file and tensor names of https://huggingface.co/openai/gpt-oss-20b and -120b.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from gptoss_mlx.checkpoint.safetensors import (
    Header,
    TensorInfo,
    parse_header,
    read_header,
)
from gptoss_mlx.errors import (
    CheckpointError,
    NoCheckpointError,
    UnfinishedError,
    storage_errors,
)
from gptoss_mlx.files import has_file, read_json_object, short

__all__ = ["Layout", "check_folder", "detect_layout", "list_tensors"]

INDEX = "model.safetensors.index.json"

# The longest file name of any file system.
MAX_NAME_LENGTH = 255


class Layout(Enum):
    """The names and the packing of a checkpoint's tensors."""

    HUGGING_FACE = "Hugging Face, as released"
    OPENAI = "OpenAI original/"
    MLX = "MLX"


def detect_layout(names: Collection[str], *, quantized: bool) -> Layout:
    """Detect the layout from the tensors' names.

    Args:
        quantized: Whether config.json has MLX's quantization dictionary.
    """
    # Most names decide, so that the message is about a stray tensor.
    openai = sum(name.startswith("block.") for name in names)
    if openai > sum(name.startswith("model.") for name in names):
        return Layout.OPENAI
    if quantized or any(".experts.gate_proj." in name for name in names):
        return Layout.MLX
    return Layout.HUGGING_FACE


def check_folder(folder: Path) -> None:
    """Refuse a path that is not a folder, or is not finished.

    Raises:
        NoCheckpointError: ``folder`` is not a folder.
        UnfinishedError: The folder is still being written.
        StorageError: The folder cannot be read.
    """
    with storage_errors(folder):
        if not folder.is_dir():
            raise NoCheckpointError(f"{folder} is not a folder.")
            # The real name: neither "." nor a link may hide the ending.
        if os.path.realpath(folder).endswith(".partial"):
            raise UnfinishedError(f"{folder} is not finished yet.")


def list_tensors(
    folder: Path,
    *,
    only: Collection[str] | None = None,
    headers: Mapping[str, Header] = MappingProxyType({}),
) -> dict[str, TensorInfo]:
    """List the tensors of every file of ``folder``, without reading them.

    An index lists the files and their tensors. Without one, every
    ``model*.safetensors`` counts (every ``*.safetensors`` if there is no such file).

    Args:
        folder: Folder of the files.
        only: The names of the files that may be read. None: all.
        headers: The headers of files that are no longer there, by name. Their tensors are
            listed as if they were.

    Raises:
        NoCheckpointError: There is no safetensors file.
        CheckpointError: The index lists a file or a tensor that does not exist, or leaves
            one out; or two files have the same tensor.
        CorruptFileError: A file is truncated or its header is wrong.
        ConfigError: The index is not a JSON object.
        StorageError: A file cannot be read.
    """
    index = folder / INDEX
    has_index = (only is None or INDEX in only) and has_file(index)
    weight_map = _read_index(index) if has_index else None
    tensors: dict[str, TensorInfo] = {}
    for path in _files(folder, weight_map, only, headers):
        header = headers.get(path.name)
        if header is None or has_file(path):
            found = read_header(path)
        else:
            found = parse_header(header.content, path, header.file_bytes)
        for name, tensor in found.items():
            if name in tensors:
                raise CheckpointError(
                    f"{path}: tensor {short(name)} must be in one file "
                    f"but is also in {tensors[name].path.name}."
                )
            tensors[name] = tensor
    if weight_map is not None:
        _check_index(weight_map, tensors, index)
    return tensors


def _read_index(index: Path) -> dict[str, str]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(file, str) for file in weight_map.values()
    ):
        raise CheckpointError(
            f"{index}: must have a weight_map from tensors to files but has none."
        )
    for file in sorted(set(weight_map.values())):
        # A file name with a separator could point outside the folder.
        if (
            file in ("", ".", "..")
            or any(mark in file for mark in "/\\\0")
            or len(file.encode(errors="replace")) > MAX_NAME_LENGTH
        ):
            raise CheckpointError(
                f"{index}: must name files of its own folder but names {short(file)}."
            )
    return weight_map


def _files(
    folder: Path,
    weight_map: Mapping[str, str] | None,
    only: Collection[str] | None,
    headers: Mapping[str, Header],
) -> list[Path]:
    if weight_map is not None:
        names = sorted(set(weight_map.values()))
        for name in names:
            hidden = only is not None and name not in only
            if hidden or not (name in headers or has_file(folder / name)):
                raise CheckpointError(
                    f"{folder / INDEX} names {short(name)}, but there is no such file."
                )
        return [folder / name for name in names]
    files = sorted({*_safetensors(folder), *(folder / name for name in headers)})
    files = [file for file in files if only is None or file.name in only]
    files = [file for file in files if file.name.startswith("model")] or files
    if not files:
        inner = folder / "original"
        raise NoCheckpointError(
            f"{folder} must have a safetensors file but has none.",
            hint=f"Name the folder inside it: {inner}"
            if inner.is_dir() and _safetensors(inner)
            else None,
        )
    return files


def _safetensors(folder: Path) -> list[Path]:
    """List a folder's files, without macOS's ``._`` files on other file systems."""
    with storage_errors(folder):
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix == ".safetensors" and not path.name.startswith(".")
        )


def _check_index(
    weight_map: Mapping[str, str], tensors: Mapping[str, TensorInfo], index: Path
) -> None:
    for name, file in weight_map.items():
        found = tensors[name].path.name if name in tensors else None
        if found != file:
            raise CheckpointError(
                f"{index}: lists {short(name)} in {short(file)} "
                f"but it is in {short(found) if found else 'no file'}."
            )
    for name, tensor in tensors.items():
        if name not in weight_map:
            raise CheckpointError(
                f"{tensor.path}: tensor {short(name)} must be in {INDEX} but is not."
            )
