from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import mlx.core as mx
import pytest

from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.sampling import make_sampler

VOCAB = 100
NEVER: frozenset[int] = frozenset()
GREEDY = make_sampler(0)


def one_hot(hidden: mx.array) -> mx.array:
    """Make the token that is the hidden state the likeliest."""
    equal: mx.array = mx.equal(hidden, mx.arange(VOCAB))
    return equal.astype(mx.float32)


class SumModel:
    """Says the sum of all tokens so far, modulo VOCAB: it needs its cache to be right.

    Its cache is one list that holds the sum.
    """

    def __init__(self) -> None:
        self.chunks: list[int] = []

    @property
    def model(self) -> Callable[[mx.array, Any], mx.array]:
        """Tokens to sums."""
        return self._hidden

    @property
    def lm_head(self) -> Callable[[mx.array], mx.array]:
        """Sums to logits."""
        return one_hot

    def make_cache(self) -> list[Any]:
        """One entry, though there is no layer."""
        return [mx.array(0)]

    def _hidden(self, tokens: mx.array, cache: list[Any]) -> mx.array:
        self.chunks.append(tokens.shape[1])
        sums = (mx.cumsum(tokens, axis=1) + cache[0]) % VOCAB
        cache[0] = sums[0, -1]
        return mx.expand_dims(sums, -1)


def expected(prompt: list[int], count: int) -> list[int]:
    """Continue by hand."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(sum(tokens) % VOCAB)
    return tokens[len(prompt) :]


@pytest.mark.parametrize("chunk_tokens", [1, 2, 5, 512])
def test_the_prompt_is_continued(chunk_tokens: int) -> None:
    """Every token follows from all before it, however the prompt is cut."""
    model = SumModel()
    tokens = generate(
        model,
        [1, 2, 3, 4, 5],
        sampler=GREEDY,
        stop_tokens=NEVER,
        max_tokens=8,
        chunk_tokens=chunk_tokens,
    )

    assert list(tokens) == expected([1, 2, 3, 4, 5], 8)
    assert max(model.chunks) == min(chunk_tokens, 5)
    assert sum(model.chunks) == 5 + 7


def test_a_stop_token_ends_it() -> None:
    """The stop token is the last that comes."""
    stop = expected([1, 2], 3)[-1]
    tokens = generate(SumModel(), [1, 2], sampler=GREEDY, stop_tokens=frozenset([stop]))

    assert list(islice(tokens, 10)) == expected([1, 2], 3)


def test_without_a_bound_it_goes_on() -> None:
    """The caller may stop at any time."""
    tokens = generate(SumModel(), [1, 2], sampler=GREEDY, stop_tokens=NEVER)

    assert list(islice(tokens, 50)) == expected([1, 2], 50)


def test_the_next_token_is_queued_before_it_is_asked_for() -> None:
    """When a token is handed over, the model has been given it already."""
    model = SumModel()
    tokens = generate(model, [1, 2], sampler=GREEDY, stop_tokens=NEVER)
    next(tokens)

    assert model.chunks == [2, 1]


def test_progress_hears_of_every_chunk() -> None:
    """Tokens read so far, and all there are."""
    heard: list[tuple[int, int]] = []
    tokens = generate(
        SumModel(),
        [1] * 5,
        sampler=GREEDY,
        stop_tokens=NEVER,
        chunk_tokens=2,
        progress=lambda done, total: heard.append((done, total)),
    )
    next(tokens)

    assert heard == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize(
    ("prompt", "numbers", "message"),
    [
        ([], {}, "prompt must have at least one token"),
        ([1], {"max_tokens": 0}, "max_tokens must be 1 or more"),
        ([1], {"chunk_tokens": 0}, "chunk_tokens must be 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    prompt: list[int], numbers: dict[str, int], message: str
) -> None:
    """Before the first token is asked for."""
    with pytest.raises(ValueError, match=message):
        generate(
            SumModel(),
            prompt,
            sampler=GREEDY,
            stop_tokens=NEVER,
            max_tokens=numbers.get("max_tokens"),
            chunk_tokens=numbers.get("chunk_tokens", 512),
        )
