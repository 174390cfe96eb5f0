"""One model that several threads ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from random import Random

import mlx.core as mx
import pytest
from golden import Case

from gptoss_mlx import load_model
from gptoss_mlx.generation import compute_thread
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.model_source import ModelSource
from gptoss_mlx.generation.request import GeneratedToken, Generation, Request
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import Stops
from gptoss_mlx.model.transformer import Model


@pytest.fixture(scope="module")
def model(released: dict[Case, Path]) -> Model:
    """A tiny model of random weights, in float32."""
    return load_model(released[Case(1, 8)], dtype=mx.float32)


PROMPTS = [[(7 * n + i) % 500 + 1 for i in range(5 + 3 * n)] for n in range(8)]
SAMPLINGS = (Sampling(temperature=0), Sampling(temperature=0.8, seed=3))


def asked(n: int, sampling: Sampling) -> Request:
    """Ask for eight tokens."""
    return Request(PROMPTS[n], sampling=sampling, stops=Stops(max_tokens=8))


def ids(tokens: Iterator[GeneratedToken]) -> list[int]:
    """The ids alone."""
    return [step.token for step in tokens]


def storm(model: Model, seed: int, *, asks: int = 25) -> list[str]:
    """Let 4 threads ask so many times each, and leave streams to one another.

    Returns:
        What was wrong.
    """
    right = {
        (n, sampling): ids(generate(model, asked(n, sampling)))
        for n in range(len(PROMPTS))
        for sampling in SAMPLINGS
    }
    source = ModelSource(model)
    wrong: list[str] = []
    left: SimpleQueue[Generation] = SimpleQueue()

    def ask(thread: int) -> None:
        random = Random(100 * seed + thread)
        for _ in range(asks):
            key = (random.randrange(len(PROMPTS)), random.choice(SAMPLINGS))
            generation = source(asked(*key))
            count = random.choice([8, 8, 8, 0, 1, 3])
            said = [step.token for step, _ in zip(generation, range(count), strict=False)]
            if said != right[key][:count]:
                wrong.append(f"{key}: {said} in place of {right[key]}")
            if count < 8:
                left.put(generation)
            del generation
            if random.random() < 0.5 and not left.empty():
                other = left.get()
                match random.randrange(3):
                    case 0:
                        other.close()
                    case 1:
                        ids(other)
                    case _:
                        pass  # collected as garbage

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a stream that was left give way soon."""
    monkeypatch.setattr(compute_thread, "IDLE_S", 0.02)


def test_four_threads_get_right_answers(model: Model, impatient: None) -> None:
    """Streams are left, closed, read to their end and collected in other threads."""
    assert storm(model, 0, asks=6) == []


@pytest.mark.slow
def test_four_threads_get_right_answers_each_time(model: Model, impatient: None) -> None:
    """20 times 100 asks."""
    assert [storm(model, seed) for seed in range(20)] == [[]] * 20


class Flat:
    """A model that finds all of 50 tokens equally likely, whatever was said."""

    def __init__(self) -> None:
        self.config = self
        self.max_position_embeddings = 1 << 30
        self.vocab_size = 50

    def model(
        self, tokens: mx.array, cache: object, *, last_only: bool = False
    ) -> mx.array:
        """No hidden state."""
        return mx.zeros((1, 1 if last_only else tokens.shape[1], 1))

    def lm_head(self, hidden: mx.array) -> mx.array:
        """One logit for all."""
        return mx.zeros((*hidden.shape[:2], 50))

    def make_cache(self) -> list[object]:
        """No layers."""
        return []


@pytest.mark.parametrize("count", [2_000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_seeded_draws_are_the_same_from_two_threads(count: int) -> None:
    """Draws for which two threads ask alternately equal one thread's."""
    source = ModelSource(Flat())  # type: ignore[arg-type]
    request = Request(
        [1], sampling=Sampling(seed=5), stops=Stops(frozenset(), max_tokens=count)
    )
    alone = ids(source(request))
    shared = source(request)
    drawn: list[int] = []
    turns = [threading.Semaphore(1), threading.Semaphore(0)]

    def draw(which: int) -> None:
        for _ in range(count // 2):
            turns[which].acquire()
            drawn.append(next(shared).token)
            turns[1 - which].release()

    threads = [threading.Thread(target=draw, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert drawn == alone
    assert len(set(alone)) == 50
