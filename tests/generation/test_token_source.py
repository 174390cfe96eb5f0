from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import pytest
from golden import Case

from gptoss_mlx import load_model
from gptoss_mlx.errors import ContextError
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.sampling import Sampling, make_logits_processors, make_sampler
from gptoss_mlx.generation.token_source import ModelSource, TokenSource
from gptoss_mlx.model.transformer import Model

PROMPT = list(range(3, 43))
SEEDED = Sampling(temperature=0.9, top_p=0.95, top_k=50, min_p=0.01, seed=7)


@pytest.fixture(scope="module")
def model(released: dict[Case, Path]) -> Model:
    """A tiny model of random weights, in float32."""
    return load_model(released[Case(0, 8)], dtype=mx.float32)


def continued(source: TokenSource, prompt: list[int], count: int = 12) -> list[int]:
    """Let a source go on for some tokens."""
    return [step.token for step in source(prompt, max_tokens=count)]


def by_hand(model: Model, prompt: list[int], sampling: Sampling, count: int) -> list[int]:
    """The same with ``generate``, which has no cache then."""
    sampler = make_sampler(
        sampling.temperature,
        sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=sampling.seed,
    )
    processors = make_logits_processors(repetition_penalty=sampling.repetition_penalty)
    steps = generate(
        model, prompt, sampler=sampler, processors=processors, max_tokens=count
    )
    return [step.token for step in steps]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(temperature=0, repetition_penalty=1.5),
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
    """Every number of the sampling takes part."""
    expected = by_hand(model, PROMPT, sampling, 12)

    assert continued(ModelSource(model, sampling), PROMPT) == expected
    if sampling not in (SEEDED, Sampling(temperature=0)):
        plain = SEEDED if sampling.temperature else Sampling(temperature=0)
        assert expected != by_hand(model, PROMPT, plain, 12)


def test_a_second_prompt_costs_what_is_new(model: Model) -> None:
    """Prompt and answer stay read; the answer is the one of a fresh model."""
    source = ModelSource(model, Sampling(temperature=0))
    first = continued(source, PROMPT)
    assert source.cached_tokens == 0
    more = [*PROMPT, *first, 60, 61, 62]
    read: list[tuple[int, int]] = []
    steps = source(more, max_tokens=5, progress=lambda *done: read.append(done))
    second = [step.token for step in steps]

    # The last token that was drawn has not gone through the model.
    assert source.cached_tokens == len(PROMPT) + len(first) - 1
    assert read == [(4, 4)]
    assert second == by_hand(model, more, Sampling(temperature=0), 5)


def test_a_sampling_that_is_set_holds_from_the_next_prompt_on(model: Model) -> None:
    """A seed begins anew, and what was read stays read."""
    source = ModelSource(model, Sampling(temperature=0))
    greedy = continued(source, PROMPT)
    source.sampling = SEEDED
    drawn = continued(source, PROMPT)
    assert source.cached_tokens > 0
    assert continued(source, PROMPT) != drawn  # the seed goes on
    source.sampling = SEEDED

    assert source.sampling == SEEDED
    assert continued(source, PROMPT) == drawn == by_hand(model, PROMPT, SEEDED, 12)
    assert drawn != greedy


def test_a_wrong_sampling_is_refused_and_the_old_one_stays(model: Model) -> None:
    """When it is set, and when the source is made."""
    source = ModelSource(model, Sampling(temperature=0))
    for wrong in (Sampling(top_p=0.0), Sampling(repetition_penalty=0.0)):
        with pytest.raises(ValueError, match="must be over 0"):
            source.sampling = wrong
        with pytest.raises(ValueError, match="must be over 0"):
            ModelSource(model, wrong)

    assert source.sampling == Sampling(temperature=0)
    assert continued(source, PROMPT) == by_hand(model, PROMPT, source.sampling, 12)


def test_the_context_is_the_model_s(model: Model) -> None:
    """A prompt that fills it is refused at once, before it is read."""
    source = ModelSource(model)
    assert source.context_tokens == model.config.max_position_embeddings

    with pytest.raises(ContextError):
        source([5] * source.context_tokens)


def test_an_answer_that_is_closed_can_be_followed(model: Model) -> None:
    """Another prompt may begin; the answer is as if there had been none before."""
    source = ModelSource(model, Sampling(temperature=0))
    steps = source(PROMPT)
    said = [next(steps).token for _ in range(3)]
    steps.close()
    more = [*PROMPT, *said[:2], 99]

    assert continued(source, more) == by_hand(model, more, Sampling(temperature=0), 12)
