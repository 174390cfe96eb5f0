"""Loads a model from a checkpoint in any layout."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.device import compute_dtype
from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.errors import StorageError
from gptoss_mlx.files import short
from gptoss_mlx.model.transformer import Model

__all__ = ["load_model"]


def load_model(
    path: str | PathLike[str] | Checkpoint, *, dtype: mx.Dtype | None = None
) -> Model:
    """Load a model from a folder in any layout. No tokenizer is needed.

    Tensors are read one at a time: peak memory is the model and its largest tensor, or
    twice that tensor if the dtype changes.

    Args:
        path: Folder with config.json and safetensors files: as released, OpenAI's
            ``original/``, converted by gptoss-mlx or by mlx-lm. Or a checkpoint from
            ``open_checkpoint``, so that nothing is read or checked twice.
        dtype: Dtype to compute in, ``mx.bfloat16`` or ``mx.float32``. None: the device's
            usual one. On an M5, MLX multiplies float32 as TF32, with 10 bits of fraction,
            unless ``MLX_ENABLE_TF32=0`` is set before its first product.

    Returns:
        The model, with its weights in memory.

    Raises:
        CheckpointError: The checkpoint is not complete; see ``open_checkpoint``.
        ConfigError: config.json is wrong or of another model.
        DeviceError: The memory is too small, or there is no device.
        StorageError: A file cannot be read.
        ValueError: ``dtype`` is another one.
    """
    if not (dtype is None or dtype in (mx.bfloat16, mx.float32)):
        raise ValueError(
            f"[load_model] dtype must be mx.bfloat16 or mx.float32 but got {short(dtype)}."
        )
    checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(Path(path))
    dtype = compute_dtype() if dtype is None else dtype
    with device_errors():
        model = Model(checkpoint.config)
        _quantize(model, checkpoint)
        model.load_weights(list(_weights(checkpoint, dtype)))
        model.eval()
    return model


def _quantize(model: Model, checkpoint: Checkpoint) -> None:
    """Replace modules that are quantized in the checkpoint by MLX's quantized ones."""

    def quantization_of(path: str, module: nn.Module) -> bool | dict[str, int | str]:
        if not hasattr(module, "to_quantized"):
            return False
        found = checkpoint.parameters[f"{path}.weight"].quantization
        if found is None:
            return False
        return {"group_size": found.group_size, "bits": found.bits, "mode": found.mode}

    nn.quantize(model, class_predicate=quantization_of)


def _weights(checkpoint: Checkpoint, dtype: mx.Dtype) -> Iterator[tuple[str, mx.array]]:
    """Yield the model's parameters in their final dtype."""
    for name in checkpoint.parameters:
        array = checkpoint.array(name)
        if mx.issubdtype(array.dtype, mx.floating):
            array = array.astype(dtype)
        try:
            with device_errors():
                mx.eval(array)
        except RuntimeError as error:
            reason = str(error).rstrip(".")
            raise StorageError(f"{checkpoint.folder}: {name}: {reason}.") from error
        yield name, array
