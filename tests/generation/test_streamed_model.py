"""Generation with a model that reads its experts from files."""

from __future__ import annotations

import os
import random
from itertools import islice
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from golden import VOCAB_SIZE
from small_model import write_small_checkpoint
from sum_model import GREEDY, NEVER, continue_, ids
from tiny_checkpoint import (
    read_tensors,
    write_safetensors,
    write_split_folder,
    write_tiny_checkpoint,
)

from gptoss_mlx.errors import CorruptFileError, StorageError
from gptoss_mlx.generation import engine
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.request import Request
from gptoss_mlx.generation.saved_cache import model_fingerprint
from gptoss_mlx.generation.stops import Stops
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.transformer import Model

BOUNDARY = 500


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint: 4 experts, 2 for each token, a window of 8."""
    path = tmp_path_factory.mktemp("streamed")
    write_small_checkpoint(path, 8)
    return path


@pytest.fixture
def plain(folder: Path) -> Model:
    """The model with all weights in memory."""
    return load_model(folder, dtype=mx.float32)


@pytest.fixture
def streamed(folder: Path) -> Model:
    """The model with half of its experts in memory."""
    return load_model(folder, dtype=mx.float32, resident=0.5)


def text(length: int, seed: int = 0) -> list[int]:
    """A text of tokens, one in twenty of which is a boundary."""
    draw = random.Random(seed)
    return [
        BOUNDARY if i % 20 == 19 else draw.randrange(VOCAB_SIZE - 20) for i in range(length)
    ]


def test_a_prompt_may_be_relieved_after_each_layer(streamed: Model) -> None:
    """Of a long prompt the memory that is short does not wait for its end."""
    called = 0

    def between() -> None:
        nonlocal called
        called += 1

    request = Request(text(70), stops=Stops(max_tokens=1), sampling=GREEDY)
    generation = generate(streamed, request, chunk_tokens=32, between=between)
    next(generation)

    assert called == streamed.config.num_hidden_layers + 1  # and after the first token


def test_an_answer_is_that_of_the_resident_model(plain: Model, streamed: Model) -> None:
    """The same tokens, greedily, after a prompt of several chunks."""
    prompt = text(70)

    answers = [
        ids(
            continue_(
                model,
                prompt,
                stop_tokens=NEVER,
                max_tokens=20,
                chunk_tokens=32,
                sampling=GREEDY,
            )
        )
        for model in (plain, streamed)
    ]

    assert answers[0] == answers[1]


def test_the_next_prompt_continues_at_a_snapshot(plain: Model, streamed: Model) -> None:
    """Snapshots are taken inside a prompt that passes layer by layer, as by chunks."""
    caches = [
        PromptCache(model, boundaries=frozenset({BOUNDARY})) for model in (plain, streamed)
    ]
    first = text(90)
    second = first[:60] + text(40, seed=1)
    for cache in caches:
        cache.begin(first)
    for i in range(0, 90, 32):
        caches[0].prefill(first[i : i + 32])
    caches[1].prefill_layerwise([first[i : i + 32] for i in range(0, 90, 32)])

    rests = [cache.begin(second) for cache in caches]
    expected, hidden = caches[0].prefill(rests[0]), caches[1].prefill_layerwise([rests[1]])

    assert rests[0] == rests[1]
    assert caches[1].cached_tokens == 60
    assert expected is not None
    assert hidden is not None
    assert mx.allclose(hidden, expected, rtol=0, atol=1e-4)
    spans = [[(p.first, p.offset) for p in cache.snapshots] for cache in caches]
    assert spans[0] == spans[1]


def test_a_long_prompt_is_carried_in_parts(
    plain: Model, streamed: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hidden states that are kept have a bound; progress is told over the whole."""
    monkeypatch.setattr(engine, "CARRIED_TOKENS", 50)
    prompt = text(120)
    told: list[tuple[int, int]] = []

    def run(model: Model) -> list[int]:
        told.clear()
        return ids(
            continue_(
                model,
                prompt,
                stop_tokens=NEVER,
                max_tokens=5,
                chunk_tokens=16,
                sampling=GREEDY,
                progress=lambda done, total: told.append((done, total)),
            )
        )

    assert run(plain) == run(streamed)
    assert told[3::4] == [(50, 120), (100, 120), (120, 120)]
    assert told == sorted(told)


def test_a_token_is_handed_over_before_the_next_is_computed(streamed: Model) -> None:
    """A step of a streamed model takes long, and cannot be queued."""
    assert streamed.streaming is not None
    stats = streamed.streaming.stats
    tokens = continue_(streamed, text(5), stop_tokens=NEVER, max_tokens=9, sampling=GREEDY)
    next(tokens)
    needed = stats.hits + stats.misses

    next(tokens)

    assert stats.hits + stats.misses == needed + 2 * len(streamed.layers)


def test_requests_that_share_a_streamed_model_do_not_mix(
    plain: Model, streamed: Model
) -> None:
    """One continues after another has used the cache: its text is prefilled again."""

    def both(model: Model) -> list[list[int]]:
        cache = PromptCache(model)
        answers: list[list[int]] = [[], []]
        runs = [
            continue_(
                model, text(30, seed), stop_tokens=NEVER, cache=cache, sampling=GREEDY
            )
            for seed in (1, 2)
        ]
        for _ in range(4):
            for run, answer in zip(runs, answers, strict=True):
                answer += ids(islice(run, 1))
        return answers

    assert both(plain) == both(streamed)


def test_a_prompt_that_is_stopped_halfway_leaves_an_empty_cache(
    plain: Model, streamed: Model
) -> None:
    """Its layers have come to different places, so none of it is of use."""

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise StoppedError

    cache = PromptCache(streamed)
    with pytest.raises(StoppedError):
        ids(continue_(streamed, text(60), cache=cache, progress=stop))
    assert cache.tokens == []

    answers = [
        ids(
            continue_(
                m, text(60), cache=c, stop_tokens=NEVER, max_tokens=5, sampling=GREEDY
            )
        )
        for m, c in ((streamed, cache), (plain, PromptCache(plain)))
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("layout", [".", "original", "split"])
def test_a_model_is_known_again_with_any_share_of_its_experts(
    tmp_path: Path, layout: str
) -> None:
    """A saved conversation fits the same weights, streamed or in memory."""
    write_tiny_checkpoint(tmp_path, num_hidden_layers=2)
    write_split_folder(tmp_path, tmp_path / "split", bits=8)

    found = {
        model_fingerprint(load_model(tmp_path / layout, dtype=mx.float32, resident=share))
        for share in (None, 1, 0.5)
    }

    assert len(found) == 1


@pytest.mark.parametrize("kind", ["down_proj_blocks", "gate_up_proj_scales"])
def test_a_streamed_model_with_other_experts_is_another(
    folder: Path, streamed: Model, tmp_path: Path, kind: str
) -> None:
    """Though no parameter in memory tells them apart."""
    tensors = read_tensors(folder / "model.safetensors")
    name = f"model.layers.1.mlp.experts.{kind}"
    tensors[name] = tensors[name] ^ np.uint8(1)
    write_safetensors(tmp_path / "model.safetensors", tensors)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    other = load_model(tmp_path, dtype=mx.float32, resident=0.5)

    assert model_fingerprint(other) != model_fingerprint(streamed)


@pytest.mark.parametrize("what", ["cut", "failing"])
def test_after_a_failed_read_the_cache_is_empty_and_the_next_request_right(
    folder: Path, plain: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The error has the file's name; nothing half-computed stays."""
    write_small_checkpoint(tmp_path, 8)
    model = load_model(tmp_path, dtype=mx.float32, resident=0.5)
    cache = PromptCache(model)
    ids(continue_(model, text(30), stop_tokens=NEVER, max_tokens=2, cache=cache))
    path = tmp_path / "model.safetensors"

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        if what == "failing":
            patch.setattr(os, "preadv", fail)
        else:
            os.truncate(path, 2000)
        kind = StorageError if what == "failing" else CorruptFileError
        with pytest.raises(kind, match=r"model\.safetensors"):
            ids(continue_(model, text(50, seed=3), max_tokens=5, cache=cache))
    assert cache.tokens == []

    if what == "failing":
        answers = [
            ids(
                continue_(
                    m, text(40), stop_tokens=NEVER, max_tokens=5, cache=c, sampling=GREEDY
                )
            )
            for m, c in ((model, cache), (plain, PromptCache(plain)))
        ]
        assert answers[0] == answers[1]
