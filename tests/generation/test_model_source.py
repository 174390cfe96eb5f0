from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import mlx.core as mx
import pytest
from golden import Case

from gptoss_mlx import load, load_model
from gptoss_mlx.device import this_machine
from gptoss_mlx.errors import ContextError
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.model_source import USUAL_TOKENS, ModelSource
from gptoss_mlx.generation.request import Request, TokenSource
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import Stops
from gptoss_mlx.memory_pressure import PressureWatch
from gptoss_mlx.model.memory import LEAST_CACHE_LIMIT_BYTES, cache_limit_bytes
from gptoss_mlx.model.plan import plan_of
from gptoss_mlx.model.transformer import Model

PROMPT = list(range(3, 43))
GREEDY = Sampling(temperature=0)
SEEDED = Sampling(temperature=0.9, top_p=0.95, top_k=50, min_p=0.01, seed=7)


@pytest.fixture(scope="module")
def model(released: dict[Case, Path]) -> Model:
    """A tiny model of random weights, in float32."""
    return load_model(released[Case(1, 8)], dtype=mx.float32)


def request(prompt: list[int], sampling: Sampling, count: int = 12) -> Request:
    """Ask for some tokens."""
    return Request(prompt, sampling=sampling, stops=Stops(max_tokens=count))


def continued(
    source: TokenSource, prompt: list[int], sampling: Sampling = GREEDY, count: int = 12
) -> list[int]:
    """Let a source go on for some tokens."""
    return [step.token for step in source(request(prompt, sampling, count))]


def by_hand(
    model: Model, prompt: list[int], sampling: Sampling = GREEDY, count: int = 12
) -> list[int]:
    """The same with ``generate``, in this thread and without a cache."""
    return [step.token for step in generate(model, request(prompt, sampling, count))]


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        replace(GREEDY, repetition_penalty=1.5),
        SEEDED,
        replace(SEEDED, temperature=2.0),
        replace(SEEDED, top_p=0.2),
        replace(SEEDED, top_k=2),
        replace(SEEDED, min_p=0.9),
        replace(SEEDED, seed=8),
    ],
    ids=str,
)
def test_a_model_source_goes_on_as_generate_does(model: Model, sampling: Sampling) -> None:
    """Every field of the sampling is used."""
    expected = by_hand(model, PROMPT, sampling)

    assert continued(ModelSource(model), PROMPT, sampling) == expected
    if sampling not in (SEEDED, GREEDY):
        plain = SEEDED if sampling.temperature else GREEDY
        assert expected != by_hand(model, PROMPT, plain)


def test_a_second_prompt_costs_what_is_new(model: Model) -> None:
    """Prompt and answer stay read; the answer is the one of a fresh model."""
    source = ModelSource(model)
    generation = source(request(PROMPT, GREEDY))
    first = [step.token for step in generation]
    assert generation.cached_tokens == 0
    more = [*PROMPT, *first, 60, 61, 62]
    read: list[tuple[int, int]] = []
    generation = source(
        replace(request(more, GREEDY, 5), progress=lambda *done: read.append(done))
    )
    second = [step.token for step in generation]

    # The last token that was drawn has not gone through the model.
    assert generation.cached_tokens == len(PROMPT) + len(first) - 1
    assert read == [(4, 4)]
    assert second == by_hand(model, more, GREEDY, 5)


def test_a_sampling_is_of_its_request_alone(model: Model) -> None:
    """A seed begins anew with each, and what was read stays read."""
    source = ModelSource(model)
    greedy = continued(source, PROMPT)
    drawn = continued(source, PROMPT, SEEDED)

    assert continued(source, PROMPT, SEEDED) == drawn == by_hand(model, PROMPT, SEEDED)
    assert continued(source, PROMPT) == greedy != drawn


def test_without_a_seed_two_draws_differ(model: Model) -> None:
    """MLX's own random state, which belongs to a thread, is not used."""
    source = ModelSource(model)
    hot = Sampling(temperature=5.0)
    mx.random.seed(1)
    first = continued(source, PROMPT, hot)
    mx.random.seed(1)

    assert continued(source, PROMPT, hot) != first


def test_a_wrong_sampling_is_refused_at_once() -> None:
    """The error comes when the request is made."""
    for wrong in ({"top_p": 0.0}, {"repetition_penalty": 0.0}, {"seed": -1}):
        with pytest.raises(ValueError, match="must be"):
            Sampling(**wrong)


@pytest.mark.parametrize("wrong", [-1, 512, 2**40])
def test_a_token_that_the_model_does_not_have_is_refused(model: Model, wrong: int) -> None:
    """MLX reads past the end of a table without a word."""
    with pytest.raises(ValueError, match=f"ids from 0 to 511 but has {wrong}"):
        ModelSource(model)(Request([1, wrong, 2]))


def test_the_context_is_the_model_s(model: Model) -> None:
    """A prompt that fills it is refused at once, before it is read."""
    source = ModelSource(model)
    assert source.context_tokens == model.config.max_position_embeddings

    with pytest.raises(ContextError):
        source(Request([5] * source.context_tokens))


def test_an_answer_that_is_closed_can_be_followed(model: Model) -> None:
    """Another prompt may begin; the answer is as if there had been none before."""
    source = ModelSource(model)
    steps = source(request(PROMPT, GREEDY, 100))
    said = [next(steps).token for _ in range(3)]
    steps.close()
    more = [*PROMPT, *said[:2], 99]

    assert continued(source, more) == by_hand(model, more)
    assert list(steps) == []


def test_loading_bounds_the_freed_memory_that_mlx_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bound is the policy's for this machine."""
    limits: list[int] = []
    monkeypatch.setattr(mx, "set_cache_limit", limits.append)

    load("demo")

    assert limits == [cache_limit_bytes(this_machine())]


def test_a_context_that_does_not_fit_in_memory_is_refused(model: Model) -> None:
    """Before anything is computed; one that fits is answered."""
    config = model.config
    machine = this_machine()
    whole = plan_of(config, lambda module, columns: None, machine)
    plan = plan_of(
        config,
        lambda module, columns: None,
        machine,
        context_tokens=64,
        budget_bytes=whole.needed_bytes(64),
    )
    source = ModelSource(model, plan=plan)

    assert 64 <= source.context_tokens < config.max_position_embeddings
    assert continued(source, PROMPT) == by_hand(model, PROMPT)
    with pytest.raises(ContextError, match="must have under"):
        source(request([1] * (source.context_tokens + 1), GREEDY))


def test_the_plan_decides_the_chunks(model: Model) -> None:
    """A machine with little memory reads a prompt in shorter pieces."""
    machine = this_machine()
    whole = plan_of(model.config, lambda module, columns: None, machine)
    tight = plan_of(
        model.config,
        lambda module, columns: None,
        machine,
        context_tokens=300,
        budget_bytes=whole.needed_bytes(300),
    )
    read: list[int] = []
    long = request([7] * 300, GREEDY, 1)
    assert tight.chunk_tokens(0) == 128

    generation = generate(
        model,
        replace(long, progress=lambda done, total: read.append(done)),
        chunk_tokens=tight.chunk_tokens,
    )
    next(generation)

    assert read == [128, 256, 300]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The cache limits that are set, in turn."""
    found: list[int] = []
    set_cache_limit = mx.set_cache_limit

    def record(limit: int) -> int:
        found.append(limit)
        return set_cache_limit(limit)

    monkeypatch.setattr(mx, "set_cache_limit", record)
    return found


def test_memory_is_given_back_while_it_is_short(model: Model, limits: list[int]) -> None:
    """In the middle of an answer, which is the same; it is said once."""
    said: list[str] = []
    source = ModelSource(model, say=said.append)
    source.cache.boundaries = frozenset(
        range(1_000)
    )  # a snapshot wherever there can be one
    short = iter([False, False, False, True, True, False, True])
    source.pressure = PressureWatch(lambda: next(short, False), count().__next__)
    held = []
    answer = []
    for step in source(request(PROMPT, GREEDY)):
        answer.append(step.token)
        held.append(len(source.cache.snapshots))

    assert answer == by_hand(model, PROMPT)
    assert len(said) == 1
    assert said[0].startswith("This machine is short of memory")
    assert " 0 MB" not in said[0]
    assert min(held) == 0 < max(held)
    assert next(short, None) is None
    assert limits == 3 * [LEAST_CACHE_LIMIT_BYTES]


def test_a_request_keeps_little_while_memory_is_short(
    model: Model, limits: list[int]
) -> None:
    """And what its plan says again once there is enough."""
    plan = plan_of(model.config, lambda module, columns: None, this_machine())
    usual = plan.settings_at(USUAL_TOKENS).cache_limit_bytes
    source = ModelSource(model, plan=plan)
    is_short = True
    source.pressure = PressureWatch(lambda: is_short, count().__next__)
    assert usual > LEAST_CACHE_LIMIT_BYTES

    continued(source, PROMPT, count=1)
    continued(source, PROMPT, count=1)
    assert set(limits) == {LEAST_CACHE_LIMIT_BYTES}

    is_short = False
    continued(source, PROMPT, count=1)
    assert limits[-1] == usual
