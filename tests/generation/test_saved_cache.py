from __future__ import annotations

import random
from pathlib import Path

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
