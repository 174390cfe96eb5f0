"""A small checkpoint: its tensors, and changes to them and to its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt
from tiny_checkpoint import read_tensors, write_safetensors

from gptoss_mlx.checkpoint.layout import INDEX

Array = npt.NDArray[Any]
Tensors = dict[str, Array]
MODEL = "model.safetensors"
EXPERTS = "model.layers.1.mlp.experts"
BLOCKS = f"{EXPERTS}.gate_up_proj_blocks"
ROUTER = "model.layers.0.mlp.router"
Q_PROJ = "model.layers.0.self_attn.q_proj"
V_PROJ = "model.layers.1.self_attn.v_proj"
HEAD = "lm_head"
NORM = "model.norm.weight"


def edit(folder: Path, change: Callable[[Tensors], object]) -> None:
    """Change the tensors of a folder."""
    tensors = read_tensors(folder / MODEL)
    change(tensors)
    write_safetensors(folder / MODEL, tensors)


def edit_table(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the quantization dictionary of a folder."""
    config = json.loads((folder / "config.json").read_text())
    change(config.setdefault("quantization", {}))
    (folder / "config.json").write_text(json.dumps(config))


def write_shards(folder: Path, shards: dict[str, list[str]], *, index: bool) -> None:
    """Put the tensors of a folder's one file into several, and name them in an index."""
    tensors = read_tensors(folder / MODEL)
    (folder / MODEL).unlink()
    for file, names in shards.items():
        write_safetensors(folder / file, {name: tensors[name] for name in names})
    if index:
        write_index(
            folder, {name: file for file, names in shards.items() for name in names}
        )


def write_index(folder: Path, weight_map: object) -> None:
    """Write an index with this weight_map."""
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def one_file_index(folder: Path) -> dict[str, str]:
    """What the index of a folder with one file says."""
    return dict.fromkeys(read_tensors(folder / MODEL), MODEL)


def deal(names: Iterable[str], files: list[str]) -> dict[str, list[str]]:
    """Deal the names to the files in turns, so that no layer stays together."""
    ordered = sorted(names)
    return {file: ordered[i :: len(files)] for i, file in enumerate(files)}
