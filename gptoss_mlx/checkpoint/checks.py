"""Compares the tensors of the files with those that config.json implies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gptoss_mlx.checkpoint.names import FLOATS, View, parameter_name
from gptoss_mlx.checkpoint.safetensors import TensorInfo
from gptoss_mlx.config import ModelConfig, Quantization
from gptoss_mlx.errors import CheckpointError, QuantizationError, UnsupportedModelError
from gptoss_mlx.files import short

__all__ = [
    "check_alike",
    "check_expert_floats",
    "check_expert_quantization",
    "check_parts",
    "quantization_of",
]


def quantization_of(
    module: str,
    in_features: int,
    config: ModelConfig,
    files: Mapping[str, TensorInfo],
    folder: Path,
) -> Quantization | None:
    """Decide like mlx-lm: a module with scales is quantized as listed in config.json."""
    table = config.quantization
    has_scales = f"{module}.scales" in files
    entry = table.of(module) if table else None
    if has_scales and entry is None:
        raise QuantizationError(
            f"{folder / 'config.json'}: quantization must describe {module!r}, "
            "which has scales, but does not."
        )
    if not has_scales and table and table.modules.get(module) is not None:
        raise QuantizationError(
            f"{folder / 'config.json'}: quantization describes {module!r}, "
            "which must have scales but has none."
        )
    if not has_scales or entry is None:
        return None
    if in_features % entry.group_size:
        raise QuantizationError(
            f"{folder / 'config.json'}: quantization of {module!r} must have a group_size "
            f"that divides its {in_features} columns but has {entry.group_size}."
        )
    return entry


def check_expert_quantization(config: ModelConfig, folder: Path) -> None:
    """Refuse a quantization dictionary whose experts are not in MXFP4."""
    table = config.quantization
    if table is None:
        return
    for layer in range(config.num_hidden_layers):
        for projection in ("gate_proj", "up_proj", "down_proj"):
            module = f"{_experts(layer)}.{projection}"
            entry = table.of(module)
            if entry is None or entry.mode != "mxfp4":
                found = f"{entry.mode!r}" if entry else "none"
                raise QuantizationError(
                    f"{folder / 'config.json'}: quantization of {module!r} must have "
                    f"mode 'mxfp4' but has {found}."
                )


def check_expert_floats(files: Mapping[str, TensorInfo], folder: Path) -> None:
    """Refuse a fine-tune whose experts are not in MXFP4."""
    experts = {
        name: tensor
        for name, tensor in files.items()
        if ".mlp.experts." in name or ".mlp.mlp1_weight" in name
    }
    if any(name.endswith(("blocks", "scales")) for name in experts):
        return
    for name, tensor in experts.items():
        if tensor.dtype in FLOATS and "bias" not in name and len(tensor.shape) > 1:
            raise UnsupportedModelError(
                f"{folder}: experts must be MXFP4, as released, "
                f"but {short(name)} is {tensor.dtype}: "
                "the fine-tune was not packed again.",
                hint="Use a checkpoint with MXFP4 experts: others are not supported yet.",
            )


def check_alike(quantizations: Mapping[str, Quantization | None], folder: Path) -> None:
    """Refuse quantizations that the model cannot hold in one module."""
    first: dict[str, str] = {}
    for module, quantization in quantizations.items():
        other = first.setdefault(parameter_name(module), module)
        if quantizations[other] != quantization:
            raise QuantizationError(
                f"{folder}: {other} and {module} must be quantized alike but are not."
            )


def check_parts(
    views: Mapping[str, View], files: Mapping[str, TensorInfo], folder: Path
) -> None:
    """Refuse files that lack a tensor of the model, or have another."""
    known: set[str] = set()
    for view in views.values():
        for part in view.parts:
            known.add(part.name)
            found = files.get(part.name)
            if found is None:
                raise CheckpointError(
                    f"config.json implies the tensor {part.name!r}, "
                    f"but no file in {folder} has it."
                )
            if found.dtype not in part.dtypes:
                raise _wrong(found, "dtype", " or ".join(part.dtypes), found.dtype)
            like = files[view.parts[0].name].dtype
            if found.dtype != like:  # two halves of one tensor
                raise _wrong(found, "dtype", like, found.dtype)
            if found.shape != part.shape:
                # Only the number of columns depends on the packing of a weight.
                entry = part.quantization
                if entry and found.shape[:-1] == part.shape[:-1]:
                    raise QuantizationError(
                        f"{found.path}: tensor {part.name!r} must have shape "
                        f"{part.shape} by config.json's quantization (bits {entry.bits}, "
                        f"group_size {entry.group_size}) but has {found.shape}."
                    )
                raise _wrong(found, "shape", part.shape, found.shape)
    for name, tensor in files.items():
        if name not in known:
            raise CheckpointError(
                f"{tensor.path}: tensor {short(name)} is not implied by config.json."
            )


def _wrong(
    found: TensorInfo, what: str, expected: object, actual: object
) -> CheckpointError:
    return CheckpointError(
        f"{found.path}: tensor {short(found.name)} must have {what} {expected} "
        f"but has {actual}."
    )


def _experts(layer: int) -> str:
    return f"model.layers.{layer}.mlp.experts"
