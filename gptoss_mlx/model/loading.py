"""From a checkpoint's tensors, in any layout, to a model that computes."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.device import compute_dtype
from gptoss_mlx.errors import QuantizationError, StorageError
from gptoss_mlx.model.transformer import Model

__all__ = ["load_model"]


def load_model(
    path: str | PathLike[str] | Checkpoint, *, dtype: mx.Dtype | None = None
) -> Model:
    """Load a model from a folder in any layout. No tokenizer is needed.

    Tensors are read one at a time: the peak is the model and its largest tensor, twice
    that where the type changes.

    Args:
        path: Folder with config.json and safetensors files: as released, OpenAI's
            ``original/``, converted by gptoss-mlx or by mlx-lm. Or such a folder, opened.
        dtype: What to compute in, ``mx.bfloat16`` or ``mx.float32``. None: what suits
            the device.

    Returns:
        The model, its weights in memory.

    Raises:
        CheckpointError: The folder holds no whole checkpoint; see ``open_checkpoint``.
        ConfigError: config.json is wrong or another model's.
        StorageError: A file cannot be read.
    """
    checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(Path(path))
    dtype = compute_dtype() if dtype is None else dtype
    model = Model(checkpoint.config)
    _quantize(model, checkpoint)
    model.load_weights(list(_weights(checkpoint, dtype)))
    model.eval()
    return model


def _quantize(model: Model, checkpoint: Checkpoint) -> None:
    """Swap the modules that the checkpoint has quantized for MLX's quantized ones."""

    def packing(path: str, module: nn.Module) -> bool | dict[str, int | str]:
        if not hasattr(module, "to_quantized"):
            return False
        released = path.replace("qkv_proj", "q_proj")
        found = checkpoint.packing(released)
        if found is None:
            return False
        return {"group_size": found.group_size, "bits": found.bits, "mode": found.mode}

    nn.quantize(model, class_predicate=packing)


def _weights(checkpoint: Checkpoint, dtype: mx.Dtype) -> Iterator[tuple[str, mx.array]]:
    """Yield the model's parameters, read and in their final type."""
    for name in checkpoint.views:
        if ".q_proj." in name:
            fused = name.replace("q_proj", "qkv_proj")
            array = mx.concatenate(_query_key_value(checkpoint, name))
        elif ".k_proj." in name or ".v_proj." in name:
            continue
        else:
            fused, array = name, checkpoint.array(name)
        if name.endswith("_blocks"):
            # (E, out, groups, 16) bytes -> (E, out, in / 8) uint32: the same bytes
            array = array.view(mx.uint32).flatten(-2)
        elif mx.issubdtype(array.dtype, mx.floating):
            array = array.astype(dtype)
        try:
            mx.eval(array)
        except RuntimeError as error:
            reason = str(error).rstrip(".")
            raise StorageError(f"{checkpoint.folder}: {name}: {reason}.") from error
        yield fused, array


def _query_key_value(checkpoint: Checkpoint, name: str) -> list[mx.array]:
    names = [name.replace("q_proj", f"{letter}_proj") for letter in "qkv"]
    packings = [checkpoint.packing(other.rpartition(".")[0]) for other in names]
    if packings.count(packings[0]) != 3:
        raise QuantizationError(
            f"{checkpoint.folder}: {', '.join(names)} must be quantized alike but are not."
        )
    return [checkpoint.array(other) for other in names]
