"""A checkpoint's folder, opened: every tensor of the model, checked, and none read yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gptoss_mlx.checkpoint.layout import (
    Layout,
    check_folder,
    detect_layout,
    list_tensors,
)
from gptoss_mlx.checkpoint.names import Part, View, dense_modules, tensor_views
from gptoss_mlx.checkpoint.safetensors import TensorInfo, read_chunks
from gptoss_mlx.config import ModelConfig, Quantization
from gptoss_mlx.config_json import read_config
from gptoss_mlx.errors import (
    MissingTensorError,
    QuantizationError,
    StorageError,
    TensorDtypeError,
    TensorShapeError,
    UnexpectedTensorError,
)
from gptoss_mlx.files import short

if TYPE_CHECKING:
    import mlx.core as mx

__all__ = ["Checkpoint", "open_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a model under their released names, whatever the files call them.

    Attributes:
        folder: Where config.json and the files lie.
        config: What config.json says.
        layout: How the files name and pack the tensors.
        views: Every tensor the model has, by its name in Hugging Face's release. A
            quantized module has ``weight``, ``scales`` and (affine) ``biases``.
        files: Every tensor the files have, by its name there.
    """

    folder: Path
    config: ModelConfig
    layout: Layout
    views: Mapping[str, View]
    files: Mapping[str, TensorInfo]
    _lazy: dict[Path, dict[str, mx.array]] = field(default_factory=dict, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.files.values())

    def packing(self, module: str) -> Quantization | None:
        """Return how ``module``'s weight is quantized; None if it is not."""
        return self.views[f"{module}.weight"].parts[0].packing

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor of the model as safetensors spells it."""
        view = self.views[name]
        found = self.files[view.parts[0].name].dtype
        # Experts' blocks are bytes, also where mlx-lm packed them into uint32.
        return "U8" if name.endswith("_blocks") else found

    def nbytes_of(self, name: str) -> int:
        """Return the bytes of a tensor of the model."""
        view = self.views[name]
        first = self.files[view.parts[0].name]
        return len(view.parts) * first.nbytes * _rows(view) // _part_rows(view)

    def is_verbatim(self, name: str) -> bool:
        """Tell whether ``name``'s bytes lie in one piece in one file."""
        return len(self.views[name].parts) == 1

    def chunks(self, name: str, *, chunk_bytes: int = 16 << 20) -> Iterator[bytes]:
        """Read a tensor's bytes as they lie in the file, a piece at a time.

        Raises:
            ValueError: The tensor lies in two pieces; ``is_verbatim`` tells.
            CorruptFileError: The file has become shorter since it was opened.
            StorageError: The file cannot be read.
        """
        view = self.views[name]
        if len(view.parts) != 1:
            raise ValueError(f"[chunks] {name} must lie in one piece.")
        tensor = self.files[view.parts[0].name]
        row_bytes = tensor.nbytes // _part_rows(view)
        return read_chunks(
            tensor,
            view.first_row * row_bytes,
            self.nbytes_of(name),
            chunk_bytes=chunk_bytes,
        )

    def array(self, name: str) -> mx.array:
        """Return a tensor of the model; MLX reads it when it is evaluated.

        Nothing is kept: what the caller drops is freed, and asking again reads again.

        Raises:
            StorageError: MLX cannot open the file, or it changed since it was opened.
        """
        import mlx.core as mx

        view = self.views[name]
        parts = [self._load(part) for part in view.parts]
        # (E, I, …) twice -> (E, 2 I, …): gate on even rows, up on odd ones
        whole = parts[0] if len(parts) == 1 else mx.stack(parts, axis=2).flatten(1, 2)
        if name.endswith("_blocks"):
            whole = whole.view(mx.uint8)
            return whole.reshape(view.shape)
        return whole[view.first_row : view.first_row + view.shape[0]]

    def _load(self, part: Part) -> mx.array:
        import mlx.core as mx

        path = self.files[part.name].path
        if part.name not in self._lazy.get(path, {}):
            try:
                loaded = mx.load(str(path))
            except RuntimeError as error:
                reason = str(error).rstrip(".")
                raise StorageError(f"{path}: MLX cannot read it: {reason}.") from error
            assert isinstance(loaded, dict)  # noqa: S101 - what .safetensors gives
            self._lazy[path] = loaded
        if part.name not in self._lazy[path]:
            raise StorageError(f"{path}: has changed since it was opened.")
        # Taken out, so that an evaluated array lives only as long as its user wants.
        return self._lazy[path].pop(part.name)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint in any layout: read its headers, check every tensor, read none.

    Takes under a second and a few megabytes at any size.

    Args:
        folder: Holds config.json and the safetensors files.

    Raises:
        NoCheckpointError: ``folder`` is none, or lacks config.json or safetensors files.
        UnfinishedError: It is still being written.
        ConfigError: config.json is wrong, or (UnsupportedModelError) another model's.
        CorruptFileError: A file is cut short or its header is wrong.
        MissingFileError: The index names a file that is not there.
        CheckpointError: The index contradicts the files.
        MissingTensorError: A tensor the config implies is in no file.
        UnexpectedTensorError: A tensor is in a file that the config does not imply.
        TensorShapeError: A tensor has another shape than the config implies.
        TensorDtypeError: A tensor has another dtype than its place asks for.
        QuantizationError: The quantization dictionary does not describe the tensors.
        StorageError: A file cannot be read.
    """
    check_folder(folder)
    config = read_config(folder)
    files = list_tensors(folder)
    layout = detect_layout(files, quantized=config.quantization is not None)
    openai = layout is Layout.OPENAI
    # Decided so that a stray tensor of the other kind is what the message is about.
    split = f"{_experts(0)}.gate_up_proj_blocks" not in files and any(
        ".experts.gate_proj." in name for name in files
    )
    packings = {
        module.path: _packing_of(module.path, module.in_features, config, files, folder)
        for module in dense_modules(config)
    }
    _check_expert_packing(config, folder)
    views = {
        view.name: view
        for view in tensor_views(
            config, openai=openai, split=split and not openai, packings=packings
        )
    }
    _check_parts(views, files, folder)
    return Checkpoint(folder, config, layout, views, files)


def _experts(layer: int) -> str:
    return f"model.layers.{layer}.mlp.experts"


def _rows(view: View) -> int:
    return view.shape[0]


def _part_rows(view: View) -> int:
    return view.parts[0].shape[0]


def _packing_of(
    module: str,
    in_features: int,
    config: ModelConfig,
    files: Mapping[str, TensorInfo],
    folder: Path,
) -> Quantization | None:
    """Decide as mlx-lm does: a module with scales is quantized as the table says."""
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


def _check_expert_packing(config: ModelConfig, folder: Path) -> None:
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


def _check_parts(
    views: Mapping[str, View], files: Mapping[str, TensorInfo], folder: Path
) -> None:
    known: set[str] = set()
    for view in views.values():
        for part in view.parts:
            known.add(part.name)
            found = files.get(part.name)
            if found is None:
                raise MissingTensorError(part.name, folder)
            if found.dtype not in part.dtypes:
                raise TensorDtypeError(part.name, found.path, part.dtypes, found.dtype)
            like = files[view.parts[0].name].dtype
            if found.dtype != like:  # Two halves that make one tensor.
                raise TensorDtypeError(part.name, found.path, (like,), found.dtype)
            if found.shape != part.shape:
                # Only the columns follow from how a weight is packed.
                if part.packing and found.shape[:-1] == part.shape[:-1]:
                    raise QuantizationError(
                        f"{found.path}: tensor {part.name!r} must have shape "
                        f"{part.shape} by config.json's quantization (bits "
                        f"{part.packing.bits}, group_size {part.packing.group_size}) "
                        f"but has {found.shape}."
                    )
                raise TensorShapeError(part.name, found.path, part.shape, found.shape)
    for name, tensor in files.items():
        if name not in known:
            raise UnexpectedTensorError(
                f"{tensor.path}: tensor {short(name)} is none that config.json implies."
            )
