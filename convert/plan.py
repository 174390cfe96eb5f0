"""Plans the output of a conversion: its tensors, their files, and config.json.

Source: https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/models/gpt_oss.py
(``sanitize``) for the module paths that the quantization dictionary uses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.checkpoint.safetensors import DTYPE_BYTES
from gptoss_mlx.config import Quantization
from gptoss_mlx.config_json import hugging_face_keys

from .recipes import Recipe

__all__ = [
    "SHARD_BYTES",
    "OutputTensor",
    "Shard",
    "config_keys",
    "plan_shards",
    "plan_tensors",
]

# 5 GB, with one MiB for the header.
SHARD_BYTES = 5_000_000_000 - (1 << 20)

EXPERTS = Quantization(32, 4, "mxfp4")


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One tensor of the output.

    Attributes:
        dtype: The dtype in safetensors' spelling.
        source: Name of its source tensor in Hugging Face's release.
        packing: How it is quantized; None if the source's bytes are kept.
        source_file: Name of the file of its source tensor.
        source_start: First byte of its source tensor there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: str
    packing: Quantization | None = None
    source_file: str = ""
    source_start: int = 0

    @property
    def nbytes(self) -> int:
        """Its length in bytes."""
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of the output, its tensors in the order of their bytes."""

    file: str
    tensors: tuple[OutputTensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)

    @property
    def source_files(self) -> list[str]:
        """The names of the files that its tensors are made of."""
        return sorted({tensor.source_file for tensor in self.tensors})


def plan_tensors(checkpoint: Checkpoint, recipe: Recipe) -> list[OutputTensor]:
    """List every tensor of the output: embedding, layers, norm, lm_head.

    The tensors of one module follow each other.
    """
    tensors: list[OutputTensor] = []
    for name, view in checkpoint.views.items():
        dtype = checkpoint.dtype(name)
        module = name.removesuffix(".weight")
        packing = None
        if module != name and len(view.shape) == 2:
            packing = recipe.packing(module, view.shape[1])
        if packing is None:
            found = [OutputTensor(name, dtype, view.shape, name)]
        else:
            found = list(_quantized(module, dtype, view.shape, packing))
        path, start = checkpoint.place(name)
        tensors += [replace(t, source_file=path.name, source_start=start) for t in found]
    return sorted(tensors, key=lambda tensor: (_place(tensor.name), tensor.name))


def plan_shards(
    tensors: Sequence[OutputTensor], *, shard_bytes: int = SHARD_BYTES
) -> list[Shard]:
    """Distribute the tensors to files: those of one source file to one file.

    So each source file is read once, and is needed no more when that file is written. One
    that is larger than a file is distributed by whole modules, in order.

    Args:
        tensors: All tensors; those of one module in a row.
        shard_bytes: The most bytes of tensors per file. A larger module has a file of
            its own.
    """
    files: list[tuple[OutputTensor, ...]] = []
    of_sources = sorted(tensors, key=lambda tensor: tensor.source_file)
    for _, group in groupby(of_sources, key=lambda tensor: tensor.source_file):
        source = list(group)
        if sum(tensor.nbytes for tensor in source) > shard_bytes:
            parts = _by_modules(source, shard_bytes)
            files += [tuple(sorted(part, key=_file_order)) for part in parts]
        else:
            files.append(_in_order(source))
    return [
        Shard(f"model-{number:05}-of-{len(files):05}.safetensors", file)
        for number, file in enumerate(files, start=1)
    ]


def _by_modules(
    tensors: Sequence[OutputTensor], shard_bytes: int
) -> list[list[OutputTensor]]:
    files: list[list[OutputTensor]] = [[]]
    filled = 0
    for _, group in groupby(tensors, key=lambda tensor: _module(tensor.name)):
        module = list(group)
        nbytes = sum(tensor.nbytes for tensor in module)
        if files[-1] and filled + nbytes > shard_bytes:
            files.append([])
            filled = 0
        files[-1] += module
        filled += nbytes
    return files


def _in_order(tensors: Sequence[OutputTensor]) -> tuple[OutputTensor, ...]:
    """Order all tensors of a source file so that each is aligned to its dtype.

    Returns:
        The order of the source, if it aligns all tensors: then the source is read from its
        first byte to its last one, and can be hashed. Otherwise, larger dtypes come first.
    """
    as_read = sorted(tensors, key=_source_order)
    if _is_aligned(as_read):
        return tuple(as_read)
    return tuple(sorted(tensors, key=_file_order))


def _is_aligned(tensors: Sequence[OutputTensor]) -> bool:
    offset = 0
    for tensor in tensors:
        if offset % DTYPE_BYTES[tensor.dtype]:
            return False
        offset += tensor.nbytes
    return True


def config_keys(checkpoint: Checkpoint, tensors: Sequence[OutputTensor]) -> dict[str, Any]:
    """Return the output's config.json: the source's keys, with MLX's quantization.

    The dictionary has an entry for every module, under mlx-lm's paths after splitting gate
    and up.
    """
    keys = dict(checkpoint.config_keys)
    if "model_type" not in keys:  # OpenAI's spelling has no place for a quantization
        keys = hugging_face_keys(checkpoint.config)
    # It describes MXFP4 for transformers, and would be read before ours.
    keys.pop("quantization_config", None)
    table: dict[str, Any] = asdict(EXPERTS)
    for tensor in tensors:
        module, _, suffix = tensor.name.rpartition(".")
        if suffix == "weight" and len(tensor.shape) == 2:
            table[module] = asdict(tensor.packing) if tensor.packing else False
        elif suffix == "gate_up_proj_blocks":
            table[f"{module}.gate_proj"] = asdict(EXPERTS)
            table[f"{module}.up_proj"] = asdict(EXPERTS)
        elif suffix == "down_proj_blocks":
            table[f"{module}.down_proj"] = asdict(EXPERTS)
    return dict(sorted({**keys, "quantization": table}.items()))


def _quantized(
    module: str, dtype: str, shape: tuple[int, ...], packing: Quantization
) -> Iterator[OutputTensor]:
    rows, columns = shape
    for suffix, part_dtype, part_columns in (
        ("weight", "U32", columns * packing.bits // 32),
        ("scales", dtype, columns // packing.group_size),
        ("biases", dtype, columns // packing.group_size),
    ):
        yield OutputTensor(
            f"{module}.{suffix}",
            part_dtype,
            (rows, part_columns),
            f"{module}.weight",
            packing,
        )


def _place(name: str) -> int:
    """Order the parts of the model as in a forward pass."""
    if name.startswith("model.layers."):
        return int(name.split(".")[2])
    return {"model.embed_tokens": -1, "model.norm": 1 << 20}.get(_module(name), 1 << 21)


def _module(name: str) -> str:
    for suffix in ("_blocks", "_scales", "_bias"):
        name = name.removesuffix(suffix)
    return name if name.endswith("_proj") else name.rpartition(".")[0]


def _source_order(tensor: OutputTensor) -> tuple[int, int]:
    """Order by the bytes of the sources; scales and biases follow their weight."""
    suffix = tensor.name.rpartition(".")[2]
    return (
        tensor.source_start,
        {"scales": 1, "biases": 2}.get(suffix, 0) if tensor.packing else 0,
    )


def _file_order(tensor: OutputTensor) -> tuple[int, bool, str]:
    """Larger dtypes first, so that every tensor is aligned to its dtype.

    Packed weights before scales: quantizing makes both at once, and the larger one is
    written immediately.
    """
    return -DTYPE_BYTES[tensor.dtype], tensor.dtype != "U32", tensor.name
