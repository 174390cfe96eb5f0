from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from golden import prefill_logits
from small_model import write_small_checkpoint
from tiny_checkpoint import read_tensors, write_safetensors

from gptoss_mlx import load_model
from gptoss_mlx.errors import CacheError, GptOssError, SavedCacheError, StorageError
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.saved_cache import load_cache, save_cache
from gptoss_mlx.model.transformer import Model

BOUND = 1e-4
START, END = 500, 501
TEXT = [*range(10, 480)]
PROMPT = [*TEXT[:200], END, START, *TEXT[200:250], END, START]


@pytest.fixture(scope="module", params=[8, 128])
def window(request: pytest.FixtureRequest) -> int:
    """Each window."""
    found: int = request.param
    return found


@pytest.fixture(scope="module")
def checkpoint(window: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of this window."""
    folder = tmp_path_factory.mktemp("small")
    write_small_checkpoint(folder, window)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Model:
    """Its model in float32."""
    return load_model(checkpoint, dtype=mx.float32)


def filled(model: Model) -> PromptCache:
    """A prompt of 254 tokens and an answer of 300."""
    cache = PromptCache(model, boundaries=frozenset({START, END}))
    cache.prefill(cache.begin(PROMPT))
    for token in TEXT[:300]:
        mx.eval(cache.decode(mx.array([token])))
        cache.record(token)
    return cache


@pytest.fixture
def cache(model: Model) -> PromptCache:
    """Such a cache, to be changed."""
    return filled(model)


@pytest.fixture(scope="module")
def saved(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of one."""
    path = tmp_path_factory.mktemp("saved") / "chat.safetensors"
    save_cache(filled(model), model, path)
    return path


@pytest.mark.parametrize(
    ("prompt", "reused"),
    [
        ([*PROMPT, *TEXT[:300], START, 5], 554),  # goes on
        ([*PROMPT, 5, 6], 254),  # the answer is dropped: from a snapshot
        ([*PROMPT[:202], 5, 6], 202),  # and further back
        ([5, 6], 0),
    ],
)
def test_a_saved_cache_goes_on_as_if_it_had_never_left_memory(
    model: Model, saved: Path, prompt: list[int], reused: int
) -> None:
    """Snapshots included; the logits are those of a fresh read."""
    loaded = load_cache(saved, model)

    hidden = loaded.prefill(loaded.begin(prompt))
    assert hidden is not None
    logits = np.array(model.lm_head(hidden)[0, 0])

    assert loaded.cached_tokens == reused
    fresh = prefill_logits(model, np.array(prompt))[-1]
    assert float(np.abs(logits - fresh).max()) <= BOUND


def test_what_was_not_recorded_is_not_saved(
    model: Model, cache: PromptCache, tmp_path: Path
) -> None:
    """A step that was queued when the answer was stopped is left out of every layer."""
    cache.decode(mx.array([7]))
    save_cache(cache, model, tmp_path / "chat")

    loaded = load_cache(tmp_path / "chat", model)

    assert loaded.tokens == cache.tokens == [*PROMPT, *TEXT[:300]]
    assert [layer.offset for layer in loaded.layers] == [554] * 4
    assert loaded.turn_start == cache.turn_start == len(PROMPT)
    assert [path.name for path in tmp_path.iterdir()] == ["chat"]
    prompt = [*loaded.tokens, START, 5]
    hidden = loaded.prefill(loaded.begin(prompt))
    assert hidden is not None
    logits = np.array(model.lm_head(hidden)[0, 0])
    fresh = prefill_logits(model, np.array(prompt))[-1]
    assert loaded.cached_tokens == 554
    assert float(np.abs(logits - fresh).max()) <= BOUND


def test_a_cache_of_another_model_is_refused(
    checkpoint: Path, model: Model, cache: PromptCache, tmp_path: Path
) -> None:
    """Also where one weight of it was tuned, and the sizes are the same."""
    save_cache(cache, model, tmp_path / "chat")
    tensors = read_tensors(checkpoint / "model.safetensors")
    name = "model.layers.2.self_attn.k_proj.weight"
    tensors[name] = tensors[name] ^ np.uint16(1)
    (tmp_path / "tuned").mkdir()
    write_safetensors(tmp_path / "tuned" / "model.safetensors", tensors)
    config = (checkpoint / "config.json").read_text()
    (tmp_path / "tuned" / "config.json").write_text(config)
    tuned = load_model(tmp_path / "tuned", dtype=mx.float32)

    with pytest.raises(SavedCacheError, match=r"chat: must be of the model in use"):
        load_cache(tmp_path / "chat", tuned)


def test_a_cache_of_another_dtype_is_refused(
    checkpoint: Path, model: Model, cache: PromptCache, tmp_path: Path
) -> None:
    """The message names both."""
    save_cache(cache, model, tmp_path / "chat")
    other = load_model(checkpoint, dtype=mx.bfloat16)

    with pytest.raises(SavedCacheError, match=r"keys of .*bfloat16 but has .*float32"):
        load_cache(tmp_path / "chat", other)


@pytest.mark.parametrize("window", [8], indirect=True)
def test_a_damaged_file_is_refused(
    model: Model, cache: PromptCache, tmp_path: Path
) -> None:
    """Wherever a byte has changed, or the file ends: never a crash, never wrong keys."""
    path = tmp_path / "chat"
    save_cache(cache, model, path)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    chance = random.Random(0)
    # MLX's writer names itself in the header: nothing is read from there.
    first = whole.index(b"}", whole.index(b"__metadata__"))
    places = [0, 7, *(chance.randrange(first, 8 + header) for _ in range(30))]
    places += [chance.randrange(8 + header, len(whole)) for _ in range(30)]

    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        if damaged[place : place + 1].isspace() and whole[place : place + 1].isspace():
            continue  # the padding of the header
        path.write_bytes(damaged)
        with pytest.raises(SavedCacheError, match="chat: "):
            load_cache(path, model)
    for length in [0, 5, 8 + header // 2, 8 + header, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(SavedCacheError, match="chat: "):
            load_cache(path, model)


@pytest.mark.parametrize("window", [8], indirect=True)
def test_another_file_is_refused(checkpoint: Path, model: Model, tmp_path: Path) -> None:
    """A model's weights are no prompt cache, and neither is nothing."""
    with pytest.raises(SavedCacheError, match="must be a prompt cache"):
        load_cache(checkpoint / "model.safetensors", model)
    with pytest.raises(StorageError, match="No such file"):
        load_cache(tmp_path / "missing", model)


@pytest.mark.parametrize("window", [8], indirect=True)
def test_a_cache_is_not_saved_where_it_cannot_be(
    model: Model, cache: PromptCache, tmp_path: Path
) -> None:
    """A named error each, and nothing half written under the name."""
    with pytest.raises(CacheError, match="must hold tokens to be saved"):
        save_cache(PromptCache(model), model, tmp_path / "chat")
    with pytest.raises(GptOssError, match="No such file"):
        save_cache(cache, model, tmp_path / "missing" / "chat")
    assert list(tmp_path.iterdir()) == []


def forge(path: Path, arrays: dict[str, mx.array], about: object) -> None:
    """Write a file whose sha256 is right, whatever it holds."""
    arrays["about"] = mx.array(np.frombuffer(json.dumps(about).encode(), np.uint8))
    arrays.pop("sha256")
    digest = hashlib.sha256()
    spelling = {mx.float32: "F32", mx.float16: "F16", mx.int32: "I32", mx.uint8: "U8"}
    for name in sorted(arrays):
        array = arrays[name]
        line = f"{name} {spelling.get(array.dtype, '?')} {tuple(array.shape)}\n"
        digest.update(line.encode())
        digest.update(np.asarray(array.flatten().view(mx.uint8)).data)
    arrays["sha256"] = mx.array(np.frombuffer(digest.digest(), np.uint8))
    mx.save_safetensors(str(path) + ".safetensors", arrays)
    Path(str(path) + ".safetensors").replace(path)


# Sliding layers are 0 and 2. Positions: 554 tokens, a prompt of 254.
FORGED: dict[str, Any] = {
    "no tokens": lambda a, about: a.update(tokens=mx.zeros((0,), mx.int32)),
    "fewer tokens": lambda a, about: a.update(tokens=a["tokens"][:-1]),
    "more tokens": lambda a, about: a.update(tokens=mx.zeros((9_999,), mx.int32)),
    "tokens in two dimensions": lambda a, about: a.update(tokens=a["tokens"][None]),
    "tokens as floats": lambda a, about: a.update(tokens=a["tokens"].astype(mx.float32)),
    "a token over the vocabulary": lambda a, about: a.update(tokens=a["tokens"] + 512),
    "a token below 0": lambda a, about: a.update(tokens=a["tokens"] - 512),
    "a layer of one key less": lambda a, about: cut(a, "layers.1", slice(0, -1)),
    "a window of one key less": lambda a, about: cut(a, "layers.0", slice(9, None)),
    "a window of no key": lambda a, about: cut(a, "layers.0", slice(0, 0)),
    "a window that is longer": lambda a, about: lengthen(a, "layers.0", 600),
    "a snapshot that is longer": lambda a, about: lengthen(a, "snapshots.0.0", 250),
    "a snapshot of one key": lambda a, about: cut(a, "snapshots.1.0", slice(0, 1)),
    "values that are shorter": lambda a, about: a.update(
        {"layers.1.values": a["layers.1.values"][:, :, 1:]}
    ),
    "two in a batch": lambda a, about: double(a, "layers.1", 0),
    "twice the heads": lambda a, about: double(a, "layers.1", 1),
    "twice the columns": lambda a, about: double(a, "layers.0", 3),
    "heads in a snapshot": lambda a, about: double(a, "snapshots.0.1", 1),
    "three dimensions": lambda a, about: a.update(
        {f"layers.1.{part}": a[f"layers.1.{part}"][0] for part in ("keys", "values")}
    ),
    "another dtype": lambda a, about: a.update(
        {"layers.1.keys": a["layers.1.keys"].astype(mx.float16)}
    ),
    "another dtype in a snapshot": lambda a, about: a.update(
        {"snapshots.0.0.keys": a["snapshots.0.0.keys"].view(mx.int32)}
    ),
    "a layer more": lambda a, about: a.update(
        {f"layers.4.{part}": a[f"layers.0.{part}"] for part in ("keys", "values")}
    ),
    "a layer less": lambda a, about: a.pop("layers.3.keys"),
    "an array that nobody knows": lambda a, about: a.update(x=mx.zeros((1,))),
    "no snapshot's keys": lambda a, about: a.pop("snapshots.0.0.keys"),
    "a list": lambda a, about: about.clear(),
    "a turn that starts at a text": lambda a, about: about.update(turn_start="1"),
    "a turn that starts below 0": lambda a, about: about.update(turn_start=-1),
    "a turn that starts at True": lambda a, about: about.update(turn_start=True),
    "a turn that starts at 10^4000": lambda a, about: about.update(turn_start=10**4_000),
    "no turn": lambda a, about: about.pop("turn_start"),
    "no snapshots": lambda a, about: about.pop("snapshots"),
    "snapshots in an object": lambda a, about: about.update(snapshots={"0": [1, 2]}),
    "a snapshot ahead": lambda a, about: about["snapshots"].__setitem__(-1, [555, 555]),
    "a snapshot below 0": lambda a, about: about["snapshots"].__setitem__(0, [-5, -5]),
    "a snapshot at 0": lambda a, about: about["snapshots"].__setitem__(0, [0, 0]),
    "a snapshot backwards": lambda a, about: about["snapshots"].__setitem__(0, [9, 8]),
    "a snapshot over 9": lambda a, about: about["snapshots"].__setitem__(-1, [100, 254]),
    "a snapshot of one number": lambda a, about: about["snapshots"].__setitem__(0, [7]),
    "a snapshot of a number": lambda a, about: about["snapshots"].__setitem__(0, 7),
    "a snapshot at half": lambda a, about: about["snapshots"].__setitem__(0, [7.5, 8]),
    "snapshots in disorder": lambda a, about: about["snapshots"].reverse(),
    "deep": lambda a, about: about.update(turn_start=json.loads("[" * 900 + "]" * 900)),
    "a long text": lambda a, about: about.update(more="x" * 1_000_000),
}


def cut(arrays: dict[str, mx.array], name: str, part: slice) -> None:
    """Take some tokens of keys and values."""
    for of in ("keys", "values"):
        arrays[f"{name}.{of}"] = mx.contiguous(arrays[f"{name}.{of}"][:, :, part])


def lengthen(arrays: dict[str, mx.array], name: str, tokens: int) -> None:
    """Repeat keys and values until there are so many tokens."""
    for of in ("keys", "values"):
        held = arrays[f"{name}.{of}"]
        times = -(-tokens // held.shape[2])
        arrays[f"{name}.{of}"] = mx.tile(held, (1, 1, times, 1))[:, :, :tokens]


def double(arrays: dict[str, mx.array], name: str, axis: int) -> None:
    """Repeat keys and values along an axis."""
    for of in ("keys", "values"):
        arrays[f"{name}.{of}"] = mx.repeat(arrays[f"{name}.{of}"], 2, axis)


@pytest.mark.parametrize("window", [8], indirect=True)
@pytest.mark.parametrize("forged", FORGED)
def test_a_file_whose_sha256_was_corrected_is_refused(
    forged: str, model: Model, saved: Path, tmp_path: Path
) -> None:
    """What does not fit the model, or itself, is named: never wrong keys, never a crash."""
    path = tmp_path / "chat"
    arrays = mx.load(str(saved))
    assert isinstance(arrays, dict)
    about = json.loads(bytes(np.asarray(arrays["about"])))
    forge(path, dict(arrays), about)
    assert len(load_cache(path, model).tokens) == 554  # The forgery itself is good.
    FORGED[forged](arrays, about)
    forge(path, arrays, about)

    with pytest.raises(SavedCacheError, match="chat: ") as caught:
        load_cache(path, model)
    assert "is damaged" not in str(caught.value)
    assert caught.value.hint.startswith("Continue without the file")


@pytest.mark.parametrize("window", [8], indirect=True)
def test_what_is_no_regular_file_is_refused(model: Model, tmp_path: Path) -> None:
    """A pipe would block, and a link to itself leads nowhere."""
    os.mkfifo(tmp_path / "chat")
    with pytest.raises(SavedCacheError, match="chat: is not a file"):
        load_cache(tmp_path / "chat", model)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match="loop: Too many levels of symbolic links"):
        load_cache(tmp_path / "loop", model)
