from __future__ import annotations

import re
import time
from collections.abc import Iterator
from random import Random

import pytest
from evidence import Note
from harmony_round_trip import check_read_back
from harmony_strategies import Json, conversations
from hypothesis import HealthCheck, given, settings

from gptoss_mlx.harmony.json_form import conversation_from_json
from gptoss_mlx.harmony.messages import Message, Role
from gptoss_mlx.harmony.parse import Delta, StreamParser
from gptoss_mlx.harmony.parse import parse as parse_tokens
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, STOP_TOKENS, VOCAB_SIZE, load_tokenizer


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
    """The recipient may be in any part of the header."""
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
        (
            "analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b",
            [Delta("analysis", "a"), Delta("final", "b")],
        ),
        (" analysis<|message|>a<|return|>", [Delta("analysis", "a")]),
        (
            "<|channel|>analysis<|message|>a<|end|>"
            "<|start|>assistant analysis<|message|>b<|end|>"
            "<|start|>assistant commentary to=functions.f<|message|>{}<|call|>",
            [Delta("analysis", "ab"), Delta("commentary", "{}", "functions.f")],
        ),
    ],
)
def test_malformed_turns_keep_their_text(text: str, deltas: list[Delta]) -> None:
    """Structure that is missing or misplaced costs no text."""
    assert parse(text) == deltas


def test_half_a_character_does_not_leak_into_the_next_message() -> None:
    """An incomplete character belongs to its own message."""
    parser = StreamParser(load_tokenizer())
    message = SPECIAL_TOKENS["<|message|>"]
    end = SPECIAL_TOKENS["<|end|>"]
    pushed = [parser.push(token) for token in (message, 9552, end, message, 24912)]

    assert [delta.text for deltas in pushed for delta in deltas] == [" ", "�", "hello"]


@pytest.mark.parametrize("stop", sorted(STOP_TOKENS))
def test_a_stop_token_ends_the_turn(stop: int) -> None:
    """It also ends the message; later tokens belong to another one."""
    parser = StreamParser(load_tokenizer())
    for token in tokens_of("<|channel|>final<|message|>a"):
        parser.push(token)
    assert not parser.done
    parser.push(stop)
    assert parser.done
    parser.push(24912)
    parser.finish()

    assert [read.message.content for read in parser.messages] == ["a", "hello"]
    assert [read.end for read in parser.messages] == [stop, None]


def test_several_calls_and_a_preamble_are_messages_of_their_own() -> None:
    """A turn that calls twice, with what came back between."""
    read = parse_tokens(
        tokens_of(
            "<|channel|>commentary<|message|>I look.<|end|>"
            "<|start|>assistant<|channel|>commentary to=functions.f "
            "<|constrain|>json<|message|>{}<|call|>"
            "<|start|>functions.f to=assistant<|channel|>commentary<|message|>1<|end|>"
            "<|start|>assistant to=python<|channel|>analysis code<|message|>2<|call|>"
        ),
        load_tokenizer(),
        role="assistant",
    )

    assert not any(message.malformed for message in read)
    assert [message.message for message in read] == [
        Message("assistant", "I look.", "commentary"),
        Message("assistant", "{}", "commentary", "functions.f", "<|constrain|>json"),
        Message("tool", "1", "commentary", "assistant", name="functions.f"),
        Message("assistant", "2", "analysis", "python", "code"),
    ]


def test_deltas_say_whose_they_are() -> None:
    """Two messages on one channel can be told apart while they stream."""
    parser = StreamParser(load_tokenizer(), role=None)
    text = "<|start|>user<|message|>a<|end|><|start|>user<|message|>b c<|end|>"
    deltas = [delta for token in tokens_of(text) for delta in parser.push(token)]

    assert [(d.role, d.index, d.text) for d in deltas] == [
        ("user", 0, "a"),
        ("user", 1, "b"),
        ("user", 1, " c"),
    ]


JSON = "<|constrain|>json"
A: Role = "assistant"
WELL_FORMED = {
    f"<|start|>assistant<|channel|>final {JSON}<|message|>{{}}<|return|>": Message(
        A, "{}", "final", None, JSON
    ),
    "<|start|>assistant<|channel|>final json<|message|>{}<|return|>": Message(
        A, "{}", "final", None, "json"
    ),
    "<|start|>assistant to=f.g<|channel|>commentary json<|message|>{}<|call|>": Message(
        A, "{}", "commentary", "f.g", "json"
    ),
    f"<|start|>assistant<|channel|>commentary to=f.g{JSON}<|message|>{{}}<|call|>": Message(
        A, "{}", "commentary", "f.g", JSON
    ),
    "<|start|>assistant<|channel|>final <|constrain|> json<|message|>{}<|end|>": Message(
        A, "{}", "final", None, JSON
    ),
    "<|start|>assistant<|message|>x<|end|>": Message(A, "x"),
    "<|start|>assistant": Message(A, ""),
    "<|start|>assistant<|channel|>finale<|message|>x<|end|>": Message(A, "x", "finale"),
    "<|start|>assistant<|channel|>final analysis<|message|>x<|end|>": Message(
        A, "x", "final", None, "analysis"
    ),
    "<|start|>assistant<|channel|>commentary python3<|message|>x<|end|>": Message(
        A, "x", "commentary", None, "python3"
    ),
    "<|start|>functions.f<|message|>x<|end|>": Message("tool", "x", name="functions.f"),
    "<|start|>user:bob<|message|>x<|end|>": Message("user", "x", name="bob"),
}
MALFORMED = {
    # No <|message|>: what follows the header is the content.
    "<|start|>assistant I must<|end|>": [Message(A, " I must")],
    "<|start|>assistant<|channel|>final a b<|return|>": [Message(A, " a b", "final")],
    f'<|start|>assistant<|channel|>commentary to=f.g {JSON}{{"a":1}}<|call|>': [
        Message(A, '{"a":1}', "commentary", "f.g", JSON)
    ],
    "<|start|>assistant<|channel|>analysis to=python code x=1<|call|>": [
        Message(A, "x=1", "analysis", "python", "code")
    ],
    "<|start|>assistant<|channel|>analysis": [Message(A, "", "analysis")],
    "assistant": [Message(A, "")],
    "\n<|start|>assistant": [Message(A, "")],
    "<|start|>user": [Message("user", "")],
    "<|start|>assistant to=f.g a<|end|>": [Message(A, " a", None, "f.g")],
    # No <|start|>.
    "hello": [Message(A, "hello")],
    "<|message|>a<|end|>": [Message(A, "a")],
    "<|channel|>final<|message|>a<|end|>": [Message(A, "a", "final")],
    "assistant<|channel|>final<|message|>a<|end|>": [Message(A, "a", "final")],
    # Boundaries in a wrong place.
    "<|start|><|start|>user<|message|>a<|end|>": [Message("user", "a")],
    "<|start|>assistant<|start|>user<|message|>a<|end|>": [
        Message(A, ""),
        Message("user", "a"),
    ],
    "<|start|>user<|message|>a<|start|>assistant<|message|>b<|end|>": [
        Message("user", "a"),
        Message(A, "b"),
    ],
    "<|start|>user<|message|>a<|channel|>final<|message|>b<|end|>": [
        Message("user", "a"),
        Message(A, "b", "final"),
    ],
    "<|start|>user<|message|>a<|end|><|return|>\n<|end|>": [Message("user", "a")],
    "<|start|>user<|message|>a<|end|>\n<|start|>user<|message|>b<|end|>": [
        Message("user", "a"),
        Message("user", "b"),
    ],
    "<|return|>": [Message(A, "")],
    " ": [Message(A, "")],
    "<|start|>user<|message|>a<|message|>b<|end|>": [Message("user", "a<|message|>b")],
    # Headers.
    "<|start|><|message|>a<|end|>": [Message(A, "a")],
    "<|start|>to=f.g<|message|>a<|call|>": [Message(A, "a", None, "f.g")],
    "<|start|>final<|message|>a<|end|>": [Message(A, "a", "final")],
    f"<|start|>final {JSON}<|message|>a<|end|>": [Message(A, "a", "final", None, JSON)],
    "<|start|>assistant analysis<|message|>a<|end|>": [Message(A, "a", "analysis")],
    "<|start|>assistant commentary to=f.g json<|message|>a<|call|>": [
        Message(A, "a", "commentary", "f.g", "json")
    ],
    f"<|start|>assistant final {JSON}<|message|>a<|end|>": [
        Message(A, "a", "final", None, JSON)
    ],
    "<|start|>f.g to=assistant commentary<|message|>a<|end|>": [
        Message("tool", "a", "commentary", "assistant", name="f.g")
    ],
    "<|start|>assistant<|channel|><|message|>a<|end|>": [Message(A, "a")],
    "<|start|>assistant<|channel|>analysis<|channel|>final<|message|>a<|end|>": [
        Message(A, "a", "final")
    ],
    "<|start|>assistant<|channel|>commentary?? to=f.g json<|message|>a<|call|>": [
        Message(A, "a", "commentary", "f.g", "json")
    ],
    "<|start|>assistant<|channel|>commentary functions.f<|message|>a<|call|>": [
        Message(A, "a", "commentary", "functions.f")
    ],
    "<|start|>assistant<|channel|>commentary functions.f json<|message|>a<|call|>": [
        Message(A, "a", "commentary", "functions.f", "json")
    ],
    "<|start|>assistant<|channel|>commentary to= f.g<|message|>a<|call|>": [
        Message(A, "a", "commentary", "f.g")
    ],
    "<|start|>assistant to=f.g<|channel|>commentary to=f.h<|message|>a<|call|>": [
        Message(A, "a", "commentary", "f.g")
    ],
    f"<|start|>assistant {JSON}<|channel|>final {JSON}<|message|>a<|end|>": [
        Message(A, "a", "final", None, JSON)
    ],
    "<|start|>assistant well then<|channel|>final<|message|>a<|end|>": [
        Message(A, "a", "final", None, "then")
    ],
    "<|start|>assistant <|reserved_200000|><|message|>a<|end|>": [
        Message(A, "a", content_type="<|reserved_200000|>")
    ],
    "<|start|>assistant<|channel|>commentary<|message|>a<|call|>": [
        Message(A, "a", "commentary")
    ],
}


@pytest.mark.parametrize("text", WELL_FORMED)
def test_a_form_that_models_write_is_read(text: str) -> None:
    """openai-harmony misreads or refuses some of these."""
    (read,) = parse_tokens(tokens_of(text), load_tokenizer())

    assert read.problem is None
    assert read.message == WELL_FORMED[text]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_form_has_its_recovery(text: str) -> None:
    """It is read as docs/harmony.md says, flagged, and keeps its tokens."""
    tokens = tokens_of(text)
    read = parse_tokens(tokens, load_tokenizer())

    assert [message.message for message in read] == MALFORMED[text]
    assert any(message.malformed for message in read)
    assert [token for message in read for token in message.tokens] == tokens


def test_a_message_cut_by_the_token_limit_is_not_malformed() -> None:
    """It has no token that ended it, and says so."""
    tokens = tokens_of("<|start|>assistant<|channel|>final<|message|>so fa")
    (read,) = parse_tokens(tokens, load_tokenizer())

    assert (read.end, read.problem) == (None, None)


def test_a_name_is_no_special_token_for_spelling_one() -> None:
    """A tool whose name spells a token is read by its name."""
    name = load_tokenizer().encode("<|channel|>final")
    tokens = [*tokens_of("<|start|>"), *name, *tokens_of("<|message|>x<|end|>")]
    message = Message("tool", "x", name="<|channel|>final")

    assert parse_tokens(tokens, load_tokenizer())[0].message == message


many = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
some = settings(many, max_examples=150)


@some
@given(conversations)
def test_what_was_rendered_is_read_back(conversation: Json) -> None:
    """Every message of a conversation, and the open header of the next one."""
    check_read_back(conversation_from_json(conversation))


@pytest.mark.slow
@many
@given(conversations)
def test_what_was_rendered_is_read_back_500_times(conversation: Json) -> None:
    """The same of more conversations."""
    check_read_back(conversation_from_json(conversation))


STRUCTURE = tokens_of(
    "<|start|><|channel|><|message|><|end|><|call|><|return|><|constrain|>"
    "<|endoftext|>assistant user final analysis commentary to=functions.f json\n"
)


def streams(count: int, seed: int) -> Iterator[list[int]]:
    """Token lists at random: noise, structure, and good ones with mistakes."""
    random = Random(seed)
    good = [tokens_of(text) for text in [*WELL_FORMED, *MALFORMED]]
    for _ in range(count):
        kind = random.randrange(3)
        if kind == 0:
            yield [
                random.randrange(-1, VOCAB_SIZE + 9) for _ in range(random.randrange(30))
            ]
        elif kind == 1:
            yield random.choices(STRUCTURE, k=random.randrange(40))
        else:
            tokens = [token for _ in range(3) for token in random.choice(good)]
            for _ in range(random.randrange(6)):
                at = random.randrange(len(tokens))
                size = random.randrange(3)
                tokens[at : at + size] = random.choices(STRUCTURE, k=random.randrange(3))
                tokens = tokens or [9552]
            yield tokens


def check_streams(count: int, seed: int) -> None:
    """Nothing is raised, and nothing lost: neither tokens nor text."""
    for tokens in streams(count, seed):
        role: Role | None = "assistant" if sum(tokens) % 2 else None
        parser = StreamParser(load_tokenizer(), role=role)
        deltas = [delta for token in tokens for delta in parser.push(token)]
        deltas += parser.finish()
        told = [""] * len(parser.messages)
        for delta in deltas:
            assert delta.text
            told[delta.index] += delta.text

        assert [token for read in parser.messages for token in read.tokens] == tokens
        assert [read.message.content for read in parser.messages] == told


@pytest.mark.parametrize(
    "unit",
    ["<|start|>", "<|end|>", "<|channel|>final", "<|constrain|>json", " to=", " x", " "],
)
def test_a_loop_of_one_thing_is_read_in_no_time(unit: str) -> None:
    """A model that repeats itself in a header neither stalls the reader nor floods it."""
    tokens = tokens_of(f"<|start|>assistant{unit * 30_000}<|message|>a<|end|>")
    began = time.perf_counter()
    read = parse_tokens(tokens, load_tokenizer())

    assert time.perf_counter() - began < 5
    assert sum(len(message.tokens) for message in read) == len(tokens)
    assert all(len(message.problem or "") < 1000 for message in read)


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_random_and_mutated_streams_are_read(note: Note, count: int) -> None:
    """For any tokens, no error is raised and all tokens are kept."""
    check_streams(count, seed=count)
    note("streams", count)
