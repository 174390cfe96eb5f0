from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_mlx.harmony.parse import STOP_TOKENS, Delta, StreamParser
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, VOCAB_SIZE, load_tokenizer


def tokens_of(text: str) -> list[int]:
    """Encode a text in which special tokens are meant as such."""
    encode = load_tokenizer().encode
    tokens: list[int] = []
    for piece in re.split(r"(<\|\w+\|>)", text):
        special = SPECIAL_TOKENS.get(piece)
        tokens += encode(piece) if special is None else [special]
    return tokens


def parse(text: str) -> list[Delta]:
    """Parse, with pieces of one message put together."""
    parser = StreamParser(load_tokenizer())
    deltas = [delta for token in tokens_of(text) for delta in parser.push(token)]
    joined: list[Delta] = []
    for delta in deltas + parser.finish():
        if joined and joined[-1].channel == delta.channel:
            text = joined.pop().text + delta.text
            delta = Delta(delta.channel, text, delta.recipient)
        joined.append(delta)
    return joined


def test_reasoning_and_answer_come_on_their_channels() -> None:
    """A turn as the model writes it, after <|start|>assistant."""
    deltas = parse(
        "<|channel|>analysis<|message|>Easy.<|end|>"
        "<|start|>assistant<|channel|>final<|message|>4 🎉<|return|>"
    )

    assert deltas == [Delta("analysis", "Easy."), Delta("final", "4 🎉")]


@pytest.mark.parametrize(
    "header",
    [
        " to=functions.f<|channel|>commentary <|constrain|>json",
        "<|channel|>commentary to=functions.f <|constrain|>json",
        "<|channel|>commentary to=functions.f<|constrain|>json",
    ],
)
def test_a_call_has_its_recipient(header: str) -> None:
    """Wherever the recipient stands in the header."""
    deltas = parse(f"{header}<|message|>{{}}<|call|>")

    assert deltas == [Delta("commentary", "{}", "functions.f")]


@pytest.mark.parametrize(
    ("text", "deltas"),
    [
        ("<|message|>a<|return|>", [Delta("final", "a")]),
        ("<|channel|>final a<|return|>", [Delta("final", " a")]),
        ("<|channel|>final<|message|>a", [Delta("final", "a")]),
        (
            "<|channel|>analysis<|message|>a<|channel|>final<|message|>b<|return|>",
            [Delta("analysis", "a"), Delta("final", "b")],
        ),
        (
            "<|channel|>analysis<|message|>a<|start|>assistant<|message|>b<|return|>",
            [Delta("analysis", "a"), Delta("final", "b")],
        ),
        ("<|message|>a<|constrain|>b<|return|>", [Delta("final", "a<|constrain|>b")]),
    ],
)
def test_malformed_turns_keep_their_text(text: str, deltas: list[Delta]) -> None:
    """Structure that is missing or misplaced costs no text."""
    assert parse(text) == deltas


def test_half_a_character_does_not_leak_into_the_next_message() -> None:
    """What a message leaves unfinished is its own."""
    parser = StreamParser(load_tokenizer())
    message = SPECIAL_TOKENS["<|message|>"]
    end = SPECIAL_TOKENS["<|end|>"]
    pushed = [parser.push(token) for token in (message, 9552, end, message, 24912)]

    assert [delta.text for deltas in pushed for delta in deltas] == [" ", "�", "hello"]


@pytest.mark.parametrize("stop", sorted(STOP_TOKENS))
def test_a_stop_token_ends_the_turn(stop: int) -> None:
    """What comes after it is not the answer's."""
    parser = StreamParser(load_tokenizer())
    for token in tokens_of("<|channel|>final<|message|>a"):
        parser.push(token)
    assert not parser.done
    parser.push(stop)

    assert parser.done
    assert parser.push(24912) == parser.finish() == []


STRUCTURE = st.sampled_from(tokens_of("<|start|><|channel|><|message|><|end|>final to=x"))


@given(st.lists(STRUCTURE | st.integers(-1, VOCAB_SIZE)))
def test_any_tokens_parse(tokens: list[int]) -> None:
    """Whatever the model writes, nothing is raised and no piece is empty."""
    parser = StreamParser(load_tokenizer())
    deltas = [delta for token in tokens for delta in parser.push(token)]

    assert all(delta.text and delta.channel for delta in deltas + parser.finish())
