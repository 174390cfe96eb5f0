"""A prompt cache on disk: a safetensors file with the tokens, keys and values.

Beside them it holds ``about``, a JSON object that says whose they are, and the sha256 of
all the rest, each as bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

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
from gptoss_mlx.files import parse_json, short, sync_file
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.snapshot import Snapshot
from gptoss_mlx.model.cache import Cache
from gptoss_mlx.model.cache_window import MAX_WINDOWS, SPARE_TOKENS, Window
from gptoss_mlx.model.sliding_cache import SlidingCache
from gptoss_mlx.model.transformer import Model

__all__ = ["load_cache", "model_fingerprint", "save_cache"]

FORMAT = "gptoss-mlx prompt cache 2"

_DTYPES = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32, "I32": mx.int32}
_SPELLING = {dtype: spelling for spelling, dtype in _DTYPES.items()}

# What there is beside the keys and values.
_OWN = ("tokens", "about", "sha256")

# A snapshot has 20 of them.
MAX_ABOUT_BYTES = 1 << 16

# Far beyond any context.
MAX_TOKENS = 1 << 31

# Of each parameter, this many numbers tell models apart.
SAMPLE = 64


def save_cache(cache: PromptCache, model: Model, path: Path) -> None:
    """Write what ``cache`` holds, snapshots included, to ``path``.

    It is written as ``PATH.partial`` and renamed when it is whole.

    Raises:
        CacheError: ``cache`` is empty.
        NoSpaceError: The disk is full.
        StorageError: The disk refuses for another reason.
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
        # A queued step may have gone beyond the tokens.
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
    """Read what ``save_cache`` has written.

    Args:
        path: The file.
        model: The one that the cache was saved with, in the same dtype.
        max_snapshots: As of ``PromptCache``.

    Raises:
        SavedCacheError: The file is damaged, or of another model, dtype or version.
        StorageError: It cannot be read.
    """
    try:
        header = read_header(path)
        about = _read_about(path, header, model)
        _check_layers(path, header, about, model)
        arrays = _read(path, header)
    except CorruptFileError as error:
        raise SavedCacheError(path, str(error).removeprefix(f"{path}: ")) from error
    cache = PromptCache(model, max_snapshots=max_snapshots)
    try:
        _fill(cache, arrays, about, model.config.vocab_size)
    except CacheError as error:
        raise SavedCacheError(path, f"must fit the model but does not: {error}") from error
    return cache


def model_fingerprint(model: Model) -> str:
    """Tell models apart by their configuration and a sample of every parameter.

    It is the same whatever type the model computes in, and with its experts in memory or
    streamed. Those are sampled in the files.

    Returns:
        A sha256 in hexadecimal.

    Raises:
        CorruptFileError: A streamed model's file has changed, like the next one.
        StorageError: It cannot be read.
    """
    digest = hashlib.sha256(repr(model.config).encode())
    parameters = dict(tree_flatten(model.parameters()))  # type: ignore[no-untyped-call]
    shapes = {name: array.shape for name, array in parameters.items()}
    if (streaming := model.streaming) is not None:
        shapes |= streaming.shapes
    for name, shape in sorted(shapes.items()):
        size = math.prod(shape)
        places = range(0, size, max(size // SAMPLE, 1))[:SAMPLE]
        if streaming is None or name in parameters:
            few = parameters[name].flatten()[:: places.step][:SAMPLE]
        else:
            few = streaming.numbers(name, places)
        digest.update(f"{name} {tuple(shape)}".encode())
        digest.update(np.asarray(few.astype(mx.float32)).tobytes())
    return digest.hexdigest()


class _About(NamedTuple):
    """The file's description of the cache, checked except for the windows' lengths.

    Attributes:
        tokens: The number of tokens.
        turn_start: As ``PromptCache.turn_start``.
        snapshots: First and last position of each.
    """

    tokens: int
    turn_start: int
    snapshots: list[tuple[int, int]]


def _read_about(path: Path, header: Mapping[str, TensorInfo], model: Model) -> _About:
    """Read and check the description of the cache."""
    forms = [(info.dtype, len(info.shape)) for info in map(header.get, _OWN) if info]
    if forms != [("I32", 1), ("U8", 1), ("U8", 1)] or header["sha256"].nbytes != 32:
        raise SavedCacheError(path, "must be a prompt cache but is not.")
    if header["about"].nbytes > MAX_ABOUT_BYTES:
        raise SavedCacheError(
            path, f"must have at most {MAX_ABOUT_BYTES:,} bytes about it."
        )
    try:
        keys = parse_json(b"".join(_chunks(header["about"])))
    except ValueError as error:
        raise SavedCacheError(path, "must be a prompt cache but is not.") from error
    if not isinstance(keys, dict) or keys.get("format") != FORMAT:
        raise SavedCacheError(path, f"must have the format {FORMAT!r} but has another.")
    if keys.get("model") != model_fingerprint(model):
        raise SavedCacheError(path, "must be of the model in use but is of another.")
    tokens = header["tokens"].shape[0]
    if tokens == 0:
        raise SavedCacheError(path, "must hold tokens but holds none.")
    # A prompt that was not read to its end is longer than what is held.
    (turn_start,) = _positions(path, [keys.get("turn_start")], 0, MAX_TOKENS)
    spans = keys.get("snapshots")
    if not isinstance(spans, list):
        raise SavedCacheError(path, "must list its snapshots but does not.")
    snapshots, least = [], 1
    for span in spans:
        if not isinstance(span, list) or len(span) != 2:
            raise SavedCacheError(path, "a snapshot must have two positions.")
        first, last = _positions(path, span, least, tokens)
        if not first <= last <= first + SPARE_TOKENS:
            raise SavedCacheError(path, f"has a snapshot from {first} to {last}.")
        snapshots.append((first, last))
        least = first
    return _About(tokens, turn_start, snapshots)


def _positions(path: Path, values: list[object], least: int, most: int) -> list[int]:
    for value in values:
        if type(value) is not int or not least <= value <= most:
            raise SavedCacheError(
                path,
                f"must have positions from {least} to {most} but has {short(value)}.",
            )
    return [value for value in values if isinstance(value, int)]


def _check_layers(
    path: Path, header: Mapping[str, TensorInfo], about: _About, model: Model
) -> None:
    """Compare the name, dtype and shape of all keys and values with the model's."""
    dtype = model.model.norm.weight.dtype
    layers = model.make_cache()
    sliding = [layer for layer in layers if isinstance(layer, SlidingCache)]
    # What each pair is of: the layer, and the positions that it has to lead to.
    expected: dict[str, tuple[Cache, int, int]] = {
        f"layers.{i}": (layer, about.tokens, about.tokens) for i, layer in enumerate(layers)
    }
    for j, (first, last) in enumerate(about.snapshots):
        for i, window_layer in enumerate(sliding):
            expected[f"snapshots.{j}.{i}"] = (window_layer, first, last)
    names = {f"{name}.{part}" for name in expected for part in ("keys", "values")}
    if header.keys() != names | set(_OWN):
        some = min(header.keys() ^ (names | set(_OWN)))
        has = "has" if some in header else "lacks"
        raise SavedCacheError(path, f"must fit the model in use but {has} {short(some)}.")
    held = {_DTYPES.get(header[name].dtype) for name in names}
    if held != {dtype}:
        found = ", ".join(sorted(map(str, held)))
        raise SavedCacheError(path, f"must have keys of {dtype} but has {found}.")
    heads, columns = model.config.num_key_value_heads, model.config.head_dim
    for name, (layer, first, last) in expected.items():
        shapes = {header[f"{name}.{part}"].shape for part in ("keys", "values")}
        lengths = {shape[2] if len(shape) == 4 else 0 for shape in shapes}
        length = max(lengths)
        if shapes != {(1, heads, length, columns)}:
            raise SavedCacheError(
                path,
                f"{name} must have shape (1, {heads}, tokens, {columns}) "
                f"but has {', '.join(map(str, sorted(shapes)))}.",
            )
        if not _leads_to(layer, length, first, last):
            raise SavedCacheError(
                path, f"{name} must lead to position {first} but has {length} tokens."
            )


def _leads_to(layer: Cache, length: int, first: int, last: int) -> bool:
    """Tell whether ``length`` tokens before ``last`` are what a layer keeps there."""
    if not isinstance(layer, SlidingCache):
        return length == last
    needed = max(first - (layer.window - 1), 0)
    return last - length <= needed and length <= min(last, layer.window_tokens)


def _read(path: Path, header: Mapping[str, TensorInfo]) -> dict[str, mx.array]:
    """Read all arrays, each once, and check the sha256."""
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


def _fill(
    cache: PromptCache, arrays: Mapping[str, mx.array], about: _About, vocab_size: int
) -> None:
    tokens = np.asarray(arrays["tokens"])
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        raise CacheError(f"Tokens must be from 0 to {vocab_size - 1}.")
    cache.tokens = tokens.tolist()
    for i, layer in enumerate(cache.layers):
        keys, values = arrays[f"layers.{i}.keys"], arrays[f"layers.{i}.values"]
        if isinstance(layer, SlidingCache):
            layer.restore(Window(about.tokens, keys, values))
        else:
            layer.update_and_fetch(keys, values)
    cache.turn_start = about.turn_start
    sliding = sum(isinstance(layer, SlidingCache) for layer in cache.layers)
    for j, (first, offset) in enumerate(about.snapshots):
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
