"""Opens a checkpoint's folder: every tensor of the model is checked, and none is read."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gptoss_mlx.checkpoint.checks import (
    check_alike,
    check_expert_floats,
    check_expert_quantization,
    check_parts,
    quantization_of,
)
from gptoss_mlx.checkpoint.layout import (
    Layout,
    check_folder,
    detect_layout,
    list_tensors,
)
from gptoss_mlx.checkpoint.names import (
    View,
    dense_modules,
    parameter_views,
    tensor_views,
)
from gptoss_mlx.checkpoint.safetensors import (
    DTYPE_BYTES,
    Header,
    TensorInfo,
    read_chunks,
)
from gptoss_mlx.config import ModelConfig, Quantization
from gptoss_mlx.config_json import parse_config, read_config_keys
from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.errors import (
    CheckpointError,
    ConfigError,
    StorageError,
    storage_errors,
)
from gptoss_mlx.files import FileIdentity
from gptoss_mlx.manifest import mend_hint

if TYPE_CHECKING:
    import mlx.core as mx

__all__ = ["Checkpoint", "open_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a model, independent of the files' names for them.

    They are listed twice: as in Hugging Face's release, for conversion, and as the model
    computes with them.

    Attributes:
        folder: Folder of config.json and the files.
        config: The parsed config.json.
        config_keys: All keys of config.json, including unknown ones.
        layout: The files' names and packing.
        views: Every tensor of the release, by its name there. A quantized module has
            ``weight``, ``scales`` and (affine) ``biases``.
        parameters: Every tensor that the model computes with, by its name in the model:
            the release's, with q, k and v fused and experts' blocks as uint32.
        files: Every tensor of the files, by its name there.
        only: The names of the files that may be read; None: all.
    """

    folder: Path
    config: ModelConfig
    config_keys: Mapping[str, Any]
    layout: Layout
    views: Mapping[str, View]
    parameters: Mapping[str, View]
    files: Mapping[str, TensorInfo]
    only: Collection[str] | None = None
    _lazy: dict[Path, dict[str, mx.array]] = field(default_factory=dict, repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.files.values())

    def quantization_of(self, module: str) -> Quantization | None:
        """Return the quantization of a module's weight in the release, or None."""
        return self.views[f"{module}.weight"].quantization

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor of the release in safetensors' spelling."""
        view = self.views[name]
        return view.dtype or self.files[view.parts[0].name].dtype

    def nbytes_of(self, name: str) -> int:
        """Return the bytes of a tensor of the release."""
        return math.prod(self.views[name].shape) * DTYPE_BYTES[self.dtype(name)]

    def is_verbatim(self, name: str) -> bool:
        """Whether the bytes of a tensor of the release are in one piece in a file."""
        return len(self.views[name].parts) == 1

    def chunks(self, name: str, *, chunk_bytes: int = 16 << 20) -> Generator[bytes]:
        """Read a tensor of the release from its file, a chunk at a time.

        Raises:
            ValueError: The tensor is in two pieces; see ``is_verbatim``.
            CorruptFileError: The file has become shorter since it was opened.
            StorageError: The file cannot be read.
        """
        if not self.is_verbatim(name):
            raise ValueError(f"[chunks] {name} must be in one piece.")
        view, nbytes = self.views[name], self.nbytes_of(name)
        return read_chunks(
            self.files[view.parts[0].name],
            view.first_row * nbytes // view.shape[0],
            nbytes,
            chunk_bytes=chunk_bytes,
        )

    def place(self, name: str) -> tuple[Path, int]:
        """Return the file of a tensor of the release, and its first byte there.

        Raises:
            ValueError: The tensor is in two pieces; see ``is_verbatim``.
        """
        if not self.is_verbatim(name):
            raise ValueError(f"[place] {name} must be in one piece.")
        view = self.views[name]
        tensor = self.files[view.parts[0].name]
        above = view.first_row * self.nbytes_of(name) // view.shape[0]
        return tensor.path, tensor.start + above

    def array(self, name: str) -> mx.array:
        """Return a tensor of the model; MLX reads it when it is evaluated.

        Nothing is cached: a dropped array is freed, and a second call reads again.

        Args:
            name: One of ``parameters``.

        Raises:
            StorageError: MLX cannot open the file, or it changed since it was opened.
        """
        view = self.parameters[name]
        return _join(view, [self._load(part.name) for part in view.parts])

    def rows(self, name: str, first: int, count: int) -> mx.array:
        """Read some rows of a tensor of the model now, and no others.

        A row of an expert tensor is an expert. Each call opens the file itself, so that
        threads can read at the same time.

        Args:
            name: One of ``parameters``.
            first: The first row. At least 0.
            count: The number of rows. At least 1.

        Returns:
            The same as ``array(name)[first : first + count]``.

        Raises:
            ValueError: The tensor has no such rows.
            CorruptFileError: The file has become shorter since it was opened.
            StorageError: The file cannot be read.
        """
        view = self.parameters[name]
        end, rows = first + count, view.shape[0]
        if not 0 <= first < end <= rows:
            raise ValueError(
                f"[rows] {name} must have rows {first} to {end} but has rows 0 to {rows}."
            )
        pieces, above = [], 0
        for part in view.parts:
            start, stop = (min(max(row - above, 0), part.shape[0]) for row in (first, end))
            pieces.append(_read_rows(self.files[part.name], start, stop - start))
            if view.joined == "rows":
                above += part.shape[0]
        return _join(view, pieces)

    def _load(self, part: str) -> mx.array:
        import mlx.core as mx

        path = self.files[part].path
        if part not in self._lazy.get(path, {}):
            with storage_errors(path):
                found = FileIdentity.of(path.stat())
            if self.files[part].identity != found:
                raise StorageError(f"{path}: has changed since it was opened.")
            try:
                with device_errors():
                    loaded = mx.load(str(path))
            except RuntimeError as error:
                reason = str(error).rstrip(".")
                raise StorageError(f"{path}: MLX cannot read it: {reason}.") from error
            assert isinstance(loaded, dict)  # noqa: S101 - what .safetensors gives
            self._lazy[path] = loaded
        if part not in self._lazy[path]:
            raise StorageError(f"{path}: has changed since it was opened.")
        # Removed from the dict, so that an array is freed with its last reference.
        return self._lazy[path].pop(part)


def open_checkpoint(
    folder: Path,
    *,
    only: Collection[str] | None = None,
    headers: Mapping[str, Header] = MappingProxyType({}),
    unfinished: bool = False,
) -> Checkpoint:
    """Open a checkpoint in any layout: read its headers and check every tensor.

    It takes under a second and a few megabytes at any size.

    Args:
        folder: Folder with config.json and the safetensors files.
        only: The names of the files that may be read: others are ignored. None: all
            files.
        headers: The headers of files that are no longer there, by name. Their tensors are
            listed and checked, but cannot be read.
        unfinished: Whether the folder may still be marked as unfinished, ``.partial``.

    Raises:
        NoCheckpointError: ``folder`` is not a folder, or lacks config.json or safetensors.
        UnfinishedError: The folder is still being written.
        ConfigError: config.json is wrong, or (UnsupportedModelError) of another model.
        CorruptFileError: A file is truncated or its header is wrong.
        CheckpointError: The index contradicts the files, or config.json the tensors: one is
            missing, unknown, or has another shape or dtype.
        QuantizationError: The quantization dictionary does not describe the tensors.
        StorageError: A file cannot be read.
    """
    if not unfinished:
        check_folder(folder)
    with _hints(folder):
        return _open(folder, only, headers)


@contextmanager
def _hints(folder: Path) -> Iterator[None]:
    """Hint at `verify` instead of a download where a converted folder is damaged."""
    try:
        yield
    except (CheckpointError, ConfigError) as error:
        hint = mend_hint(folder)
        if hint is not None and error.hint.startswith("Download "):
            error.replace_hint(hint)
        raise


def _open(
    folder: Path, only: Collection[str] | None, headers: Mapping[str, Header]
) -> Checkpoint:
    keys = read_config_keys(folder)
    config = parse_config(keys, source=str(folder / "config.json"))
    files = list_tensors(folder, only=only, headers=headers)
    layout = detect_layout(files, quantized=config.quantization is not None)
    openai = layout is Layout.OPENAI
    # Decided first, so that the message is about a stray tensor of the other kind.
    split = "model.layers.0.mlp.experts.gate_up_proj_blocks" not in files and any(
        ".experts.gate_proj." in name for name in files
    )
    quantizations = {
        module.path: quantization_of(module.path, module.in_features, config, files, folder)
        for module in dense_modules(config)
    }
    check_expert_quantization(config, folder)
    check_expert_floats(files, folder)
    views = {
        view.name: view
        for view in tensor_views(
            config,
            openai=openai,
            split=split and not openai,
            quantizations=quantizations,
        )
    }
    check_parts(views, files, folder)
    check_alike(quantizations, folder)
    parameters = {view.name: view for view in parameter_views(views)}
    return Checkpoint(folder, config, keys, layout, views, parameters, files, only)


def _join(view: View, pieces: list[mx.array]) -> mx.array:
    """Join a view's parts, or the same rows of them."""
    import mlx.core as mx

    if view.joined == "interleaved":
        # (E, I, …) each -> (E, 2 I, …): gate on even rows, up on odd ones
        whole = mx.stack(pieces, axis=2).flatten(1, 2)
    else:
        whole = mx.concatenate(pieces)
    if view.dtype is not None:
        whole = whole.view({"U8": mx.uint8, "U32": mx.uint32}[view.dtype])
    return whole.reshape(-1, *view.shape[1:])


def _read_rows(tensor: TensorInfo, first: int, count: int) -> mx.array:
    """Read some rows of a tensor of the files; possibly none."""
    import mlx.core as mx
    import numpy as np

    row_bytes = tensor.nbytes // tensor.shape[0]
    nbytes = count * row_bytes
    chunks = read_chunks(tensor, first * row_bytes, nbytes, chunk_bytes=nbytes)
    data = np.frombuffer(b"".join(chunks), np.uint8)
    dtypes = {
        "BF16": mx.bfloat16,
        "F16": mx.float16,
        "F32": mx.float32,
        "U8": mx.uint8,
        "U32": mx.uint32,
    }
    rows = mx.array(data).view(dtypes[tensor.dtype])
    return rows.reshape(count, *tensor.shape[1:])
