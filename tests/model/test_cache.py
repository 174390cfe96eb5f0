from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from golden import Case, prefill_logits, tokens_of
from small_model import load_small_model

from gptoss_mlx.errors import CacheError
from gptoss_mlx.model.cache_buffers import STEP_TOKENS
from gptoss_mlx.model.full_cache import FullCache
from gptoss_mlx.model.sliding_cache import SlidingCache
from gptoss_mlx.model.transformer import Model

BOUND = 1e-4
WINDOWS = [8, 128]
TEXT = tokens_of(Case(1, 8))

Logits = npt.NDArray[np.float32]


@pytest.fixture(scope="module", params=WINDOWS)
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    """A small model of each window."""
    return load_small_model(tmp_path_factory.mktemp("small"), request.param)


@pytest.fixture(scope="module")
def whole(model: Model) -> Logits:
    """Logits of one pass over all 1,500 tokens, without a cache."""
    return np.array(model(mx.array(TEXT[None]))[0])


@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
def test_chunked_prefill_equals_one_pass(chunk: int, model: Model, whole: Logits) -> None:
    """Prefill in chunks of any size, and token by token, gives the same logits."""
    text = TEXT[:600] if chunk == 1 else TEXT
    logits = prefill_logits(model, text, chunk)

    assert np.abs(logits - whole[: len(text)]).max() <= BOUND


@pytest.mark.parametrize("n", [1, 5, 64])
@pytest.mark.parametrize("read", [40, 500, 1_200])
def test_trim_then_continue_equals_one_pass(
    read: int, n: int, model: Model, whole: Logits
) -> None:
    """Trimmed tokens leave no trace, in full and sliding layers alike."""
    n = min(n, read)
    tokens = mx.array(TEXT[None])
    cache = model.make_cache()
    for start in range(0, read - n, 100):
        model(tokens[:, start : min(start + 100, read - n)], cache)
    # Other tokens, one by one as when decoding, that are taken back again.
    for _ in range(n):
        model(tokens[:, :1], cache)
    for layer in cache:
        layer.trim(n)

    logits = np.array(model(tokens[:, read - n : read + 60], cache)[0])

    assert all(layer.offset == read + 60 for layer in cache)
    assert np.abs(logits - whole[read - n : read + 60]).max() <= BOUND


def test_batches_are_read_side_by_side(model: Model) -> None:
    """Two texts in one batch have the logits that each has alone."""
    tokens = mx.array(np.stack([TEXT[:40], TEXT[100:140]]))
    cache = model.make_cache()
    model(tokens[:, :30], cache)

    together = np.array(model(tokens[:, 30:], cache))
    alone = [np.array(model(tokens[i : i + 1])[0, 30:]) for i in range(2)]

    assert np.abs(together - np.stack(alone)).max() <= BOUND


def keys(*numbers: float) -> mx.array:
    """Keys ``(1, 1, L, 1)`` that can be told apart."""
    return mx.array(numbers, dtype=mx.float32).reshape(1, 1, -1, 1)


def test_a_sliding_cache_returns_the_window_and_the_new_tokens() -> None:
    """Of the old tokens, a chunk sees the window less itself."""
    cache = SlidingCache(window=4, slack_tokens=2)
    cache.update_and_fetch(keys(0, 1, 2, 3, 4), keys(0, 1, 2, 3, 4))

    fetched, _ = cache.update_and_fetch(keys(5, 6), keys(5, 6))

    assert fetched.flatten().tolist() == [2, 3, 4, 5, 6]
    assert cache.offset == 7


def test_a_sliding_cache_holds_no_more_than_window_slack_and_a_step() -> None:
    """However long the text, the buffer stays small."""
    cache = SlidingCache(window=128, slack_tokens=64)
    for _ in range(20):
        token = mx.zeros((1, 2, 100, 4))
        cache.update_and_fetch(token, token)

    assert all(array.shape[2] <= 128 + 64 + 2 * 256 for array in cache.state)


@pytest.mark.parametrize("length", [300, 1_000])
def test_a_sliding_cache_can_always_trim_its_slack(length: int) -> None:
    """Decoding token by token always leaves at least the slack to trim."""
    cache = SlidingCache(window=16, slack_tokens=8)
    for i in range(length):
        cache.update_and_fetch(keys(i), keys(i))
        assert cache.trimmable_tokens >= min(i + 1, 8)

    cache.trim(8)
    fetched, _ = cache.update_and_fetch(keys(-1), keys(-1))
    assert fetched.flatten().tolist() == [*range(length - 23, length - 8), -1]


def test_a_sliding_cache_of_any_window_grows_with_what_it_holds() -> None:
    """The window is a number in a file, and 16 million tokens would be 16 GB."""
    wide = SlidingCache(1 << 24)
    for L in (12, 1, 300, 3_000):
        wide.update_and_fetch(mx.zeros((1, 1, L, 2)), mx.zeros((1, 1, L, 2)))
        room = wide.state[0].shape[2]

        assert room <= wide.offset * 9 / 8 + 2 * STEP_TOKENS
        assert wide.nbytes_for(wide.offset, token_bytes=1) >= room
    wide.restore(wide.window_at(wide.offset - 1))
    assert wide.state[0].shape[2] <= wide.offset * 9 / 8 + 2 * STEP_TOKENS


def test_a_sliding_cache_of_the_released_window_is_allocated_once() -> None:
    """As large as it will ever be, so that a step writes in place."""
    cache = SlidingCache(128)
    cache.update_and_fetch(keys(0), keys(0))

    assert cache.state[0].shape[2] == 512
    assert cache.nbytes_for(100_000, token_bytes=1) == 512


def test_a_full_cache_grows_in_steps() -> None:
    """The buffer is longer than what it holds, so that most steps write in place."""
    cache = FullCache()
    for i in range(300):
        fetched, _ = cache.update_and_fetch(keys(i), keys(i))

    assert fetched.flatten().tolist() == list(range(300))
    assert [array.shape[2] for array in cache.state] == [512, 512]


@pytest.mark.parametrize(
    ("tokens", "room"),
    [
        (0, 0),
        (1, 256),
        (256, 256),
        (257, 512),
        (4_096, 4_096),
        (4_097, 4_608),
        (30_000, 32_768),
        (131_072, 132_608),
    ],
)
def test_a_full_cache_has_room_for_an_eighth_more(tokens: int, room: int) -> None:
    """And for 256 tokens at least, whatever it was filled by."""
    assert FullCache.room_for(tokens) == room


def test_the_buffers_of_a_long_text_leave_few_bytes_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """12 layers, 30,000 tokens: all buffers made have at most 12 times the last ones'."""
    token = mx.ones((1, 2, 1, 16))
    layers = [FullCache() for _ in range(12)]
    made = 0
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    for _ in range(0, 30_000, 100):
        for layer in layers:
            held = sum(array.nbytes for array in layer.state)
            piece = mx.repeat(token, 100, axis=2)
            layer.update_and_fetch(piece, piece)
            mx.eval(layer.state)
            now = sum(array.nbytes for array in layer.state)
            made += now if now != held else 0
    final = sum(array.nbytes for layer in layers for array in layer.state)

    assert made <= 12 * final
    assert mx.get_peak_memory() - before <= 1.3 * final


def test_a_step_that_grows_the_buffers_may_be_broken_off() -> None:
    """Keys that have grown without their values do no harm."""
    cache = FullCache()
    numbers = list(range(256))
    cache.update_and_fetch(keys(*numbers), keys(*numbers))
    grow = cache._grown
    calls = 0

    def stop(*args: Any) -> mx.array:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return grow(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "_grown", stop)
        with pytest.raises(KeyboardInterrupt):
            cache.update_and_fetch(keys(256), keys(256))
    fetched = cache.update_and_fetch(keys(256), keys(256))

    assert all(part.flatten().tolist() == [*numbers, 256] for part in fetched)


@pytest.mark.parametrize("cache", [FullCache(), SlidingCache(4)])
@pytest.mark.parametrize("n", [-1, 4])
def test_a_trim_too_far_is_refused(cache: FullCache | SlidingCache, n: int) -> None:
    """The message says how far it can go, and nothing is forgotten."""
    cache.trim(cache.offset)
    cache.update_and_fetch(keys(1, 2, 3), keys(1, 2, 3))

    with pytest.raises(CacheError, match=f"from 0 to 3 tokens but is {n}"):
        cache.trim(n)
    assert cache.offset == 3


@pytest.mark.parametrize("cache", [FullCache(), SlidingCache(4)])
@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 1, 2)])
def test_keys_that_do_not_fit_are_refused(
    cache: FullCache | SlidingCache, shape: tuple[int, ...]
) -> None:
    """MLX would write past the end of the buffer without a word."""
    cache.update_and_fetch(keys(1), keys(1))

    with pytest.raises(CacheError, match="must fit"):
        cache.update_and_fetch(mx.zeros(shape), mx.zeros(shape))


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_a_watched_window_is_what_was_held_there(chunk: int) -> None:
    """Whether a chunk ends at the position or passes over it."""
    cache = SlidingCache(window=16, slack_tokens=20)
    cache.watch([5, 15, 60, 500])
    for start in range(0, 100, chunk):
        new = keys(*range(start, min(start + chunk, 100)))
        cache.update_and_fetch(new, new)

    found = {
        position: window.keys.flatten().tolist()
        for position, window in cache.watched.items()
    }
    # 15 positions that the next step needs, and 8 to spare
    assert found == {
        5: [*range(5)],
        15: [*range(15)],
        60: [*range(60 - 23, 60)],
    }
    assert [cache.watched[p].first for p in (5, 15, 60)] == [0, 0, 37]


@pytest.mark.parametrize("position", [52, 59, 60])
def test_a_window_is_restored_at_its_position_and_a_little_before(position: int) -> None:
    """The next step sees what it would have seen then, and can be taken back."""
    cache = SlidingCache(window=16, slack_tokens=20)
    cache.update_and_fetch(keys(*range(60)), keys(*range(60)))
    window = cache.window_at(60)
    for i in range(400):
        cache.update_and_fetch(keys(-i), keys(-i))

    cache.restore(window, position)
    trimmable_tokens = cache.trimmable_tokens
    fetched, _ = cache.update_and_fetch(keys(-1, -2), keys(-1, -2))

    assert fetched.flatten().tolist() == [*range(position - 15, position), -1, -2]
    assert cache.offset == position + 2
    assert trimmable_tokens == position - 52
    assert window.keys.flatten().tolist() == [*range(37, 60)]  # not written over


@pytest.mark.parametrize("position", [51, 61])
def test_a_window_is_not_restored_where_it_does_not_reach(position: int) -> None:
    """The message says what it has, and the cache stays as it was."""
    cache = SlidingCache(window=16)
    cache.update_and_fetch(keys(*range(60)), keys(*range(60)))
    window = cache.window_at(60)

    with pytest.raises(
        CacheError, match=f"37 to 60 must reach position {position} with 15"
    ):
        cache.restore(window, position)
    assert cache.offset == 60


def test_a_window_of_another_shape_is_refused() -> None:
    """It is another model's."""
    cache, other = SlidingCache(4), SlidingCache(4)
    cache.update_and_fetch(keys(1), keys(1))
    other.update_and_fetch(mx.zeros((1, 2, 9, 1)), mx.zeros((1, 2, 9, 1)))

    with pytest.raises(CacheError, match="must match the cache's shape"):
        cache.restore(other.window_at(9))


def test_a_window_out_of_reach_is_refused() -> None:
    """An empty cache has none, and one that moved on no longer that of long ago."""
    cache = SlidingCache(4, slack_tokens=2)
    with pytest.raises(CacheError, match="An empty cache has no window"):
        cache.window_at(0)
    cache.update_and_fetch(keys(*range(100)), keys(*range(100)))

    with pytest.raises(CacheError, match="from 0 to 2 tokens but is 3"):
        cache.window_at(97)
    with pytest.raises(CacheError, match="from 0 to 2 tokens but is -1"):
        cache.window_at(101)
