from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain, islice, repeat
from typing import Any, cast

import mlx.core as mx
import pytest
from sum_model import NEVER, VOCAB, SumModel, continue_, expected, ids

from gptoss_mlx.errors import ContextError
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.request import GeneratedToken
from gptoss_mlx.generation.sampling import Sampling, make_logits_processors
from gptoss_mlx.tokenizer import STOP_TOKENS, load_tokenizer


@pytest.mark.parametrize("chunk_tokens", [1, 2, 5, 512])
def test_the_prompt_is_continued(chunk_tokens: int) -> None:
    """Every token follows from all before it, however the prompt is cut."""
    model = SumModel()
    tokens = continue_(
        model,
        [1, 2, 3, 4, 5],
        stop_tokens=NEVER,
        max_tokens=8,
        chunk_tokens=chunk_tokens,
    )

    assert ids(tokens) == expected([1, 2, 3, 4, 5], 8)
    assert max(model.chunks) == min(chunk_tokens, 5)
    assert sum(model.chunks) == 5 + 7


def test_a_stop_token_ends_it() -> None:
    """The stop token is the last that comes."""
    stop = expected([1, 2], 3)[-1]
    tokens = continue_(SumModel(), [1, 2], stop_tokens=frozenset([stop]))

    assert ids(islice(tokens, 10)) == expected([1, 2], 3)


def test_without_a_bound_it_goes_on() -> None:
    """The caller may stop at any time."""
    tokens = continue_(SumModel(), [1, 2], stop_tokens=NEVER)

    assert ids(islice(tokens, 50)) == expected([1, 2], 50)


def test_the_next_token_is_queued_before_it_is_asked_for() -> None:
    """When a token is handed over, the model has been given it already."""
    model = SumModel()
    tokens = continue_(model, [1, 2], stop_tokens=NEVER)
    next(tokens)

    assert model.chunks == [2, 1]


def test_progress_hears_of_every_chunk() -> None:
    """Tokens read so far, and all there are."""
    heard: list[tuple[int, int]] = []
    tokens = continue_(
        SumModel(),
        [1] * 5,
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
        ([1], {"max_tokens": 0}, "max_tokens must be an integer"),
        ([1], {"chunk_tokens": 0}, "chunk_tokens must be 1 or more"),
        ([1], {"logprobs": -1}, "logprobs must be 0 or more"),
        ([1], {"stop_strings": ("",)}, "strings must not be empty"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    prompt: list[int], numbers: dict[str, Any], message: str
) -> None:
    """Before the first token is asked for."""
    with pytest.raises(ValueError, match=message):
        continue_(SumModel(), prompt, **numbers)


@pytest.mark.parametrize(
    ("limits", "count", "reason"),
    [
        ({"max_tokens": 3}, 3, "length"),
        ({"context_tokens": 6}, 4, "context"),
        ({"context_tokens": 6, "max_tokens": 4}, 4, "length"),
        ({"context_tokens": 6, "max_tokens": 9}, 4, "context"),
        ({"context_tokens": 3}, 1, "context"),
        ({"max_tokens": 50, "stop_tokens": frozenset([24])}, 4, "stop"),
        ({"max_tokens": 4, "stop_tokens": frozenset([24])}, 4, "stop"),
    ],
)
def test_the_last_token_says_why_it_is_the_last(
    limits: dict[str, Any], count: int, reason: str
) -> None:
    """The others say nothing."""
    steps = list(continue_(SumModel(), [1, 2], **limits))

    assert ids(steps) == expected([1, 2], count)
    assert [step.finish_reason for step in steps] == [*[None] * (count - 1), reason]


def test_nothing_is_read_past_the_last_token() -> None:
    """The context holds no more than was promised, and no step is wasted."""
    model = SumModel()
    list(continue_(model, [1, 2], context_tokens=5))

    assert model.chunks == [2, 1, 1]


@pytest.mark.parametrize("length", [4, 5, 90])
def test_a_prompt_that_fills_the_context_is_refused_at_once(length: int) -> None:
    """Before anything is read, with both numbers."""
    model = SumModel()
    with pytest.raises(ContextError, match=f"under 4 tokens but has {length}"):
        continue_(model, [1] * length, context_tokens=4)
    assert model.chunks == []


def test_harmony_s_ends_are_the_ends_unless_others_are_named() -> None:
    """Return, call and endoftext; an end of a message is none."""
    names = ["<|return|>", "<|call|>", "<|endoftext|>"]

    assert {load_tokenizer().token(name) for name in names} == STOP_TOKENS


class Script(SumModel):
    """Says the tokens that it is given, whatever is asked."""

    def __init__(self, tokens: list[int]) -> None:
        super().__init__()
        self.script = chain(tokens, repeat(0))

    @property
    def lm_head(self) -> Callable[[mx.array], mx.array]:
        """The next token of the script."""
        return lambda _: (mx.arange(201_088) == next(self.script))[None, None] * 1.0


def say(pieces: list[str], **options: Any) -> list[GeneratedToken]:
    """Say each piece's tokens; special tokens are pieces of their own."""
    tokenizer = load_tokenizer()
    tokens = [
        token
        for piece in pieces
        for token in (
            [tokenizer.token(piece)] if piece.startswith("<|") else tokenizer.encode(piece)
        )
    ]
    return list(
        continue_(
            Script(tokens),
            [1],
            max_tokens=len(tokens),
            **options,
        )
    )


@pytest.mark.parametrize(
    ("pieces", "stops", "text"),
    [
        (["One. Two. Three."], ["Two"], "One. Two"),
        (["One", ". T", "wo", " Three"], [". Two", "x"], "One. Two"),
        (["Ein ", "💖", " zwei"], ["💖"], "Ein 💖"),
        (["aab", "aac", " d"], ["aac"], "aabaac"),
    ],
)
def test_a_stop_text_ends_it(pieces: list[str], stops: list[str], text: str) -> None:
    """However it is cut into tokens."""
    steps = say(pieces, stop_strings=tuple(stops))

    assert load_tokenizer().decode(ids(steps)) == text
    assert steps[-1].finish_reason == "stop"


def test_a_stop_text_does_not_reach_across_messages() -> None:
    """What stands before and after a special token is not one text."""
    steps = say(["on", "<|message|>", "e two"], stop_strings=("one", "message"))

    assert steps[-1].finish_reason == "length"


def test_logprobs_are_the_model_s_own() -> None:
    """Before temperature and filters; the likeliest come first."""
    model = SumModel()
    steps = list(
        continue_(
            model,
            [1, 2],
            sampling=Sampling(0.2, 0.5, seed=1),
            processors=tuple(make_logits_processors(logit_bias={7: 50.0})),
            max_tokens=4,
            logprobs=3,
        )
    )
    rest = math.log(math.e + VOCAB - 1)  # one logit is 1, all others 0

    for step, likeliest in zip(steps, [3, 10, 17, 24], strict=True):
        assert step.token == 7
        assert step.logprob == pytest.approx(-rest, abs=1e-5)
        assert step.top_logprobs[0][0] == likeliest
        assert [p for _, p in step.top_logprobs] == pytest.approx(
            [1 - rest, -rest, -rest], abs=1e-5
        )


def test_logprobs_are_left_out_unless_asked_for() -> None:
    """With 0, the token's own comes alone."""
    without, alone = (
        next(continue_(SumModel(), [1], logprobs=count)) for count in (None, 0)
    )

    assert (without.logprob, without.top_logprobs) == (None, ())
    assert alone.logprob is not None
    assert alone.top_logprobs == ()


def test_processors_see_all_tokens_so_far() -> None:
    """Prompt and answer, though the last token is still being computed."""
    seen: list[list[int]] = []

    def look(tokens: mx.array, logits: mx.array) -> mx.array:
        seen.append(cast(list[int], tokens.tolist()))
        return logits

    list(continue_(SumModel(), [1, 2], max_tokens=3, processors=(look,)))

    assert seen == [[1, 2], [1, 2, 3], [1, 2, 3, 6]]


def test_a_cache_is_read_on_from_where_the_prompts_part() -> None:
    """Progress counts what is new, and the answer is that of a fresh read."""
    model, heard = SumModel(), []
    cache = PromptCache(model)
    list(continue_(model, [1, 2, 3], max_tokens=4, cache=cache))
    said = list(cache.tokens)
    model.chunks.clear()

    steps = continue_(
        model,
        [1, 2, 3, 6, 9, 9],
        max_tokens=3,
        cache=cache,
        progress=lambda done, total: heard.append((done, total)),
    )

    assert ids(steps) == expected([1, 2, 3, 6, 9, 9], 3)
    assert said == [1, 2, 3, 6, 12, 24]
    assert heard == [(2, 2)]
    assert model.chunks == [2, 1, 1]


def test_an_answer_that_was_closed_leaves_the_cache_usable() -> None:
    """The step that was queued is forgotten."""
    model = SumModel()
    cache = PromptCache(model)
    steps = continue_(model, [1, 2], cache=cache)
    next(steps)
    steps.close()

    again = continue_(model, [1, 2, 5], max_tokens=3, cache=cache)

    assert ids(again) == expected([1, 2, 5], 3)


def test_two_answers_on_one_cache_are_both_right() -> None:
    """Each reads its own text again where the other has used the cache."""
    model = SumModel()
    cache = PromptCache(model)
    first = continue_(model, [1, 2], cache=cache, max_tokens=6)
    second = continue_(model, [5], cache=cache, max_tokens=6)
    said = [(next(first).token, next(second).token) for _ in range(6)]

    assert [one for one, _ in said] == expected([1, 2], 6)
    assert [two for _, two in said] == expected([5], 6)


class Alternating:
    """A grammar: an even token after an odd one, and the other way round."""

    def __init__(self) -> None:
        self.accepted: list[int] = []
        self.expected: list[int] = []  # what had been accepted at each call

    def process(self, logits: mx.array) -> mx.array:
        """Forbid what has the last token's parity."""
        self.expected.append(len(self.accepted))
        parity = self.accepted[-1] % 2 if self.accepted else 0
        return mx.where(mx.arange(VOCAB) % 2 == parity, -mx.inf, logits)

    def accept(self, token: int) -> None:
        """Remember it."""
        self.accepted.append(token)


def test_a_grammar_sees_each_token_before_the_next_is_drawn() -> None:
    """It is asked with all earlier tokens accepted, and what it forbids never comes."""
    grammar = Alternating()
    tokens = ids(continue_(SumModel(), [1, 2], grammar=grammar, max_tokens=6))

    assert [token % 2 for token in tokens] == [1, 0, 1, 0, 1, 0]
    assert grammar.expected == [0, 1, 2, 3, 4, 5]
    assert grammar.accepted == tokens[:5]  # the last ends it


def test_a_grammar_that_forbids_nothing_changes_nothing() -> None:
    """The path without a look ahead gives what the other gives."""

    class Anything(Alternating):
        def process(self, logits: mx.array) -> mx.array:
            return logits

    tokens = continue_(SumModel(), [1, 2], grammar=Anything(), max_tokens=9)

    assert ids(tokens) == expected([1, 2], 9)
