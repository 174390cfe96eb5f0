"""A prompt cache on disk: a safetensors file with the tokens, keys and values.

It also holds ``about``, a JSON object with the model's fingerprint and the snapshots'
positions, and the sha256 of everything else, each as bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from gptoss_mlx.checkpoint.safetensors import TensorInfo, read_chunks, read_header
from gptoss_mlx.errors import (
    CacheError,
    CorruptFileError,
    SavedCacheError,
    storage_errors,
)
from gptoss_mlx.files import sync_file
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.snapshot import Snapshot
from gptoss_mlx.model.cache_window import MAX_WINDOWS, Window
from gptoss_mlx.model.sliding_cache import SlidingCache
from gptoss_mlx.model.transformer import Model

__all__ = ["load_cache", "model_fingerprint", "save_cache"]

FORMAT = "gptoss-mlx prompt cache 2"

_DTYPES = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32, "I32": mx.int32}
_SPELLING = {dtype: spelling for spelling, dtype in _DTYPES.items()}

# This many numbers of each parameter go into the fingerprint.
SAMPLE = 64


def save_cache(cache: PromptCache, model: Model, path: Path) -> None:
    """Write ``cache``, snapshots included, to ``path``.

    The file is written as ``PATH.partial`` and renamed when it is complete.

    Raises:
        CacheError: ``cache`` is empty.
        NoSpaceError: The disk is full.
        StorageError: The system refuses for another reason.
    """
    tokens = cache.tokens
    if not tokens:
        raise CacheError(
            "A cache must hold tokens to be saved but is empty.",
            hint="Save it after the first answer.",
        )
    about = {
        "format": FORMAT,
        "model": model_fingerprint(model),
        "turn_start": cache.turn_start,
        "snapshots": [[point.first, point.offset] for point in cache.snapshots],
    }
    arrays = {"tokens": mx.array(tokens, mx.int32), "about": _bytes(json.dumps(about))}
    for i, layer in enumerate(cache.layers):
        # A queued step may have written beyond the tokens.
        if isinstance(layer, SlidingCache):
            window = layer.window_at(len(tokens))
            keys, values = window.keys, window.values
        else:
            keys, values = (array[:, :, : len(tokens)] for array in layer.state)
        arrays[f"layers.{i}.keys"], arrays[f"layers.{i}.values"] = keys, values
    for j, point in enumerate(cache.snapshots):
        for i, window in enumerate(point.windows):
            arrays[f"snapshots.{j}.{i}.keys"] = window.keys
            arrays[f"snapshots.{j}.{i}.values"] = window.values
    arrays = {name: mx.contiguous(array) for name, array in arrays.items()}
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(_line(name, _SPELLING.get(array.dtype, "U8"), tuple(array.shape)))
        digest.update(np.asarray(array.flatten().view(mx.uint8)).data)
    arrays["sha256"] = mx.array(np.frombuffer(digest.digest(), np.uint8))
    draft = path.with_name(f"{path.name}.partial")
    with storage_errors(path):
        with draft.open("wb") as file:
            mx.save_safetensors(file, arrays)
            file.flush()
            sync_file(file.fileno())
        draft.replace(path)


def load_cache(
    path: Path, model: Model, *, max_snapshots: int = MAX_WINDOWS
) -> PromptCache:
    """Read a cache that ``save_cache`` has written.

    Args:
        path: The file.
        model: The model that the cache was saved with, in the same dtype.
        max_snapshots: As in ``PromptCache``.

    Raises:
        SavedCacheError: The file is damaged, or of another model, dtype or version.
        StorageError: The file cannot be read.
    """
    try:
        arrays = _read(path)
        about = json.loads(bytes(np.asarray(arrays["about"])))
        layers = [name for name in arrays if name.startswith("layers.")]
        held = {arrays[name].dtype for name in layers}
    except CorruptFileError as error:
        raise SavedCacheError(path, str(error).removeprefix(f"{path}: ")) from error
    except (KeyError, ValueError) as error:
        raise SavedCacheError(path, "must be a prompt cache but is not.") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise SavedCacheError(path, f"must have the format {FORMAT!r} but has another.")
    if about.get("model") != model_fingerprint(model):
        raise SavedCacheError(path, "must be of the model in use but is of another.")
    dtype = model.model.norm.weight.dtype
    if held != {dtype}:
        names = ", ".join(sorted(map(str, held)))
        raise SavedCacheError(path, f"must have keys of {dtype} but has {names}.")
    cache = PromptCache(model, max_snapshots=max_snapshots)
    try:
        _fill(cache, arrays, about)
    except (CacheError, KeyError, TypeError, ValueError) as error:
        raise SavedCacheError(path, "must fit the model in use but does not.") from error
    return cache


def model_fingerprint(model: Model) -> str:
    """Compute a hash of the configuration and of a sample of every parameter.

    It does not depend on the model's dtype.

    Returns:
        A sha256 in hexadecimal.
    """
    digest = hashlib.sha256(repr(model.config).encode())
    parameters = dict(tree_flatten(model.parameters()))  # type: ignore[no-untyped-call]
    for name, array in sorted(parameters.items()):
        numbers = array.flatten()
        few = numbers[:: max(numbers.size // SAMPLE, 1)][:SAMPLE].astype(mx.float32)
        digest.update(f"{name} {array.shape}".encode())
        digest.update(np.asarray(few).tobytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, mx.array]:
    """Read all arrays, each once, and check the sha256."""
    header = read_header(path)
    digest, arrays = hashlib.sha256(), {}
    expected = b"".join(_chunks(header["sha256"]))
    for name in sorted(header.keys() - {"sha256"}):
        info = header[name]
        digest.update(_line(name, info.dtype, info.shape))
        data = bytearray()
        for chunk in _chunks(info):
            digest.update(chunk)
            data += chunk
        array = mx.array(np.frombuffer(data, np.uint8))
        if info.dtype in _DTYPES:
            array = array.view(_DTYPES[info.dtype])
        arrays[name] = array.reshape(info.shape)
    if digest.digest() != expected:
        raise SavedCacheError(path, "is damaged: its sha256 is not the one it holds.")
    return arrays


def _chunks(info: TensorInfo) -> Iterator[bytes]:
    return read_chunks(info, 0, info.nbytes)


def _fill(cache: PromptCache, arrays: dict[str, mx.array], about: dict[str, Any]) -> None:
    tokens = np.asarray(arrays["tokens"]).tolist()
    for i, layer in enumerate(cache.layers):
        keys, values = arrays[f"layers.{i}.keys"], arrays[f"layers.{i}.values"]
        if isinstance(layer, SlidingCache):
            layer.restore(Window(len(tokens), keys, values))
        else:
            layer.update_and_fetch(keys, values)
    cache.tokens = tokens
    cache.turn_start = about["turn_start"]
    sliding = sum(isinstance(layer, SlidingCache) for layer in cache.layers)
    for j, (first, offset) in enumerate(about["snapshots"]):
        windows = (
            Window(
                offset,
                arrays[f"snapshots.{j}.{i}.keys"],
                arrays[f"snapshots.{j}.{i}.values"],
            )
            for i in range(sliding)
        )
        cache.snapshots.append(Snapshot(first, offset, tuple(windows)))
    mx.eval(*(array for layer in cache.layers for array in layer.state))


def _bytes(text: str) -> mx.array:
    return mx.array(np.frombuffer(text.encode(), np.uint8))


def _line(name: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    return f"{name} {dtype} {shape}\n".encode()
