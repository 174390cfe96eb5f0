"""Tell the layouts of a checkpoint apart by what is in them, and list their files.

Source: file and tensor names of https://huggingface.co/openai/gpt-oss-20b and -120b.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path

from gptoss_mlx.checkpoint.safetensors import TensorInfo, read_header
from gptoss_mlx.config import read_json_object
from gptoss_mlx.errors import (
    CheckpointError,
    MissingFileError,
    MissingTensorError,
    NoCheckpointError,
    UnexpectedTensorError,
    UnfinishedError,
    storage_errors,
)

__all__ = ["Layout", "detect_layout", "list_tensors"]

INDEX = "model.safetensors.index.json"


class Layout(Enum):
    """How a checkpoint names and packs its tensors."""

    HUGGING_FACE = "Hugging Face, as released"
    OPENAI = "OpenAI original/"
    MLX = "MLX"


def detect_layout(names: Collection[str], *, quantized: bool) -> Layout:
    """Tell the layout from the tensors' names.

    Args:
        quantized: Whether config.json has MLX's quantization dictionary.
    """
    if "embedding.weight" in names or any(name.startswith("block.") for name in names):
        return Layout.OPENAI
    if quantized or any(".experts.gate_proj." in name for name in names):
        return Layout.MLX
    return Layout.HUGGING_FACE


def list_tensors(folder: Path) -> dict[str, TensorInfo]:
    """List the tensors of every file of ``folder``; none is read.

    An index says which files count and what is in them. Without one, every
    ``model*.safetensors`` counts (every ``*.safetensors`` if there is no such file).

    Raises:
        NoCheckpointError: There is no safetensors file.
        UnfinishedError: The folder is still being written.
        MissingFileError: The index names a file that is not there.
        MissingTensorError: The index names a tensor that its file does not have.
        UnexpectedTensorError: Two files have the same tensor, or the index leaves one out.
        CorruptFileError: A file is cut short or its header is wrong.
        ConfigError: The index is no JSON object.
        StorageError: A file cannot be read.
    """
    if folder.name.endswith(".partial"):
        raise UnfinishedError(f"{folder} is not finished: it must not be read yet.")
    index = folder / INDEX
    with storage_errors(folder):
        has_index = index.is_file()
    weight_map = _read_index(index) if has_index else None
    tensors: dict[str, TensorInfo] = {}
    for path in _files(folder, weight_map):
        for name, tensor in read_header(path).items():
            if name in tensors:
                raise UnexpectedTensorError(
                    f"{path}: tensor {name!r} must be in one file "
                    f"but is in {tensors[name].path.name} too."
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
    for file in weight_map.values():
        # A file name with a separator could lead out of the folder.
        if file in ("", ".", "..") or any(mark in file for mark in "/\\\0"):
            raise CheckpointError(
                f"{index}: must name files of its own folder but names {file!r}."
            )
    return weight_map


def _files(folder: Path, weight_map: Mapping[str, str] | None) -> list[Path]:
    with storage_errors(folder):
        if weight_map is not None:
            files = [folder / file for file in sorted(set(weight_map.values()))]
            for file in files:
                if not file.is_file():
                    raise MissingFileError(
                        f"{folder / INDEX} names {file.name}, which is not there."
                    )
            return files
        if not folder.is_dir():
            raise NoCheckpointError(f"{folder} must be a folder but is none.")
        files = sorted(folder.glob("model*.safetensors"))
        files = files or sorted(folder.glob("*.safetensors"))
        files = [file for file in files if file.is_file()]
        if files:
            return files
        inner = folder / "original"
        hint = (
            f"Name the folder inside it: {inner}"
            if any(inner.glob("*.safetensors"))
            else None
        )
        raise NoCheckpointError(
            f"{folder} must have a safetensors file but has none.", hint=hint
        )


def _check_index(
    weight_map: Mapping[str, str], tensors: Mapping[str, TensorInfo], index: Path
) -> None:
    for name, file in weight_map.items():
        if name not in tensors:
            raise MissingTensorError(name, index.parent)
        if tensors[name].path.name != file:
            raise CheckpointError(
                f"{index}: says that {name!r} is in {file} "
                f"but it is in {tensors[name].path.name}."
            )
    for name, tensor in tensors.items():
        if name not in weight_map:
            raise UnexpectedTensorError(
                f"{tensor.path}: tensor {name!r} must be in {INDEX} but is not."
            )
