"""Loads a model from a checkpoint in any layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.config import Quantization
from gptoss_mlx.device import compute_dtype, this_machine
from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.errors import NotEnoughMemoryError, StorageError
from gptoss_mlx.files import short
from gptoss_mlx.model.amounts import MOST_BYTES, parse_bytes
from gptoss_mlx.model.layerwise import StreamedModel
from gptoss_mlx.model.plan import (
    LEAST_CONTEXT_TOKENS,
    Plan,
    plan_in_budget,
    plan_of,
    plan_to_run,
)
from gptoss_mlx.model.residency import slots_of
from gptoss_mlx.model.streaming import Streaming
from gptoss_mlx.model.transformer import Model

__all__ = ["load_checkpoint", "load_model", "plan_checkpoint"]


def load_model(
    path: str | PathLike[str] | Checkpoint,
    *,
    dtype: mx.Dtype | None = None,
    resident: float | None = None,
    memory_budget: str | int | None = None,
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
        resident: The share of each layer's experts to keep in memory, over 0 and up to 1;
            the others are read from the files when they are needed, and no expert
            before. None: all are loaded now.
        memory_budget: The most memory that the program may take, as ``"8GB"`` or in bytes,
            with a context of 8,192 tokens, or of fewer, down to 2,048, if it must be. As
            many experts stay in memory as fit.

    Returns:
        The model, with its weights in memory.

    Raises:
        CheckpointError: The checkpoint is not complete; see ``open_checkpoint``.
        ConfigError: config.json is wrong or of another model.
        DeviceError: The memory is too small, or there is no device.
        NotEnoughMemoryError: The budget, or the memory for the share, is too small.
        StorageError: A file cannot be read.
        ValueError: ``dtype`` is another one; ``resident`` is out of its range, or given
            beside ``memory_budget``; or that is no amount of memory.
    """
    if not (dtype is None or dtype in (mx.bfloat16, mx.float32)):
        raise ValueError(
            f"[load_model] dtype must be mx.bfloat16 or mx.float32 but got {short(dtype)}."
        )
    checkpoint = path if isinstance(path, Checkpoint) else open_checkpoint(Path(path))
    slots = None
    if resident is not None or memory_budget is not None:
        plan = plan_checkpoint(
            checkpoint, dtype=dtype, resident=resident, memory_budget=memory_budget
        )
        slots = plan.slots if plan.streams or resident is not None else None
    return load_checkpoint(checkpoint, dtype=dtype, slots=slots)


def load_checkpoint(
    checkpoint: Checkpoint, *, dtype: mx.Dtype | None = None, slots: int | None = None
) -> Model:
    """Load a model, with all experts in memory or some.

    Args:
        checkpoint: A checkpoint in any layout.
        dtype: As in ``load_model``.
        slots: How many experts of each layer to keep in memory; none is read now. None:
            all, read now.

    Raises:
        DeviceError: The memory is too small, or there is no device.
        StorageError: A file cannot be read.
    """
    dtype = compute_dtype() if dtype is None else dtype
    with device_errors():
        if slots is None:
            model = Model(checkpoint.config)
        else:
            streaming = Streaming(checkpoint, slots, dtype)
            model = StreamedModel(checkpoint.config, streaming)
        _quantize(model, checkpoint)
        model.load_weights(list(_weights(checkpoint, dtype, model.streaming)))
        model.eval()
    return model


def plan_checkpoint(
    checkpoint: Checkpoint,
    *,
    dtype: mx.Dtype | None = None,
    resident: float | None = None,
    memory_budget: str | int | None = None,
) -> Plan:
    """Plan how a checkpoint runs on this machine, or refuse it.

    Args:
        checkpoint: A checkpoint in any layout.
        dtype: As in ``load_model``, like the next ones. Without both of these, as many
            experts as fit are in memory.

    Raises:
        DeviceError: There is no device.
        NotEnoughMemoryError: It does not fit.
        ValueError: As in ``load_model``.
    """
    if resident is not None and memory_budget is not None:
        raise ValueError("[load] name resident or memory_budget, not both.")
    if resident is not None and not _is_amount(resident, (int, float), 1):
        raise ValueError(
            f"[load] resident must be over 0 and up to 1 but is {short(resident)}."
        )
    if isinstance(memory_budget, str):
        memory_budget = parse_bytes(memory_budget)
    if memory_budget is not None and not _is_amount(memory_budget, (int,), MOST_BYTES):
        raise ValueError(
            "[load] memory_budget must be a whole number of bytes over 0, or text as "
            f"'8GB', but is {short(memory_budget)}."
        )
    config, machine = checkpoint.config, this_machine()
    if dtype is not None:
        machine = replace(machine, dtype=str(dtype).removeprefix("mlx.core."))

    def packing(module: str, columns: int) -> Quantization | None:
        return checkpoint.quantization_of(module)

    if memory_budget is not None:
        return plan_in_budget(config, packing, machine, memory_budget)
    if resident is None:
        return plan_to_run(config, packing, machine, name=checkpoint.folder.name)
    plan = plan_of(config, packing, machine, context_tokens=LEAST_CONTEXT_TOKENS)
    plan = replace(plan, slots=slots_of(config, resident))
    context_tokens = plan.footprint.context_tokens
    if plan.longest_context_tokens < context_tokens:
        needed = plan.needed_bytes(context_tokens) / 1e9
        raise NotEnoughMemoryError(
            f"{checkpoint.folder.name} with {100 * resident:.0f} % of its experts needs "
            f"{needed:.1f} GB with {context_tokens:,} tokens of conversation, and a "
            f"program may use {machine.limit_bytes / 1e9:.1f} GB here.",
            hint="Name a smaller share of the experts, or none: then as many stay as fit.",
        )
    return plan


def _is_amount(value: Any, types: tuple[type, ...], most: float) -> bool:
    """Whether a value is a number of these types, over 0 and up to ``most``."""
    is_number = isinstance(value, types) and not isinstance(value, bool)
    return is_number and 0 < value <= most


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


def _weights(
    checkpoint: Checkpoint, dtype: mx.Dtype, streaming: Streaming | None = None
) -> Iterator[tuple[str, mx.array]]:
    """Yield the model's parameters in their final dtype."""
    for name in checkpoint.parameters:
        if streaming is not None and streaming.streams(name):
            continue
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
