"""Turns of a model that writes harmony almost right, or nothing like it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from evidence import Note
from hostile import ESCAPES, raw_controls
from scripted import Scripted, call, turn, written

from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.cli.output import say
from gptoss_mlx.harmony.json_form import conversation_from_json, conversation_to_json
from gptoss_mlx.harmony.messages import Message, ToolDescription
from gptoss_mlx.harmony.parse import parse
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, VOCAB_SIZE, load_tokenizer
from gptoss_mlx.tools.functions import Function, Functions

ROLES = (
    "assistant", "assistantassistant", "Assistant", "assistant:bob", "bot", "user",
    "USER", "system", "developer", "tool", "functions.f", "functions.f to=assistant", "",
    "assistant to=functions.f", "assistant to=system", "all", "x" * 300, *ESCAPES[::8],
)  # fmt: skip
CHANNELS = (
    "final", "analysis", "commentary", "commentary to=functions.f", "finalfinal", "Final",
    "commentary to=a b", "analysis to=<|start|>", "final to=all", "", "weather",
    "commentary to=functions.f <|constrain|>json", "to=functions.f", *ESCAPES[1::9],
)  # fmt: skip
TEXTS = ("", "So.", '{"a": 1}', "{" * 50, "Ünï 💖", "<|end|>", *ESCAPES[::6])
SPECIALS = tuple(SPECIAL_TOKENS.values())


def strange_step(random: Random) -> list[int]:
    """What a model might write after ``<|start|>assistant``."""
    encode = load_tokenizer().encode
    special = {name: SPECIAL_TOKENS[f"<|{name}|>"] for name in (
        "start", "channel", "message", "end", "return", "call")}  # fmt: skip
    tokens: list[int] = []
    for i in range(random.randrange(1, 5)):
        if i:
            tokens += [special["start"], *encode(random.choice(ROLES))]
        if random.random() < 0.9:
            tokens += [special["channel"], *encode(random.choice(CHANNELS))]
        if random.random() < 0.9:
            tokens.append(special["message"])
        tokens += encode(random.choice(TEXTS))
        if random.random() < 0.9:
            tokens.append(special[random.choice(["end", "end", "end", "call", "return"])])
    if random.random() < 0.4:
        good = random.choice([call("functions.f", '{"a": 1}'), turn("Hm.", "So.")])
        tokens += [token for token in written(good) if isinstance(token, int)]
    for _ in range(random.choice([0, 0, 0, 1, 3])):
        at = random.randrange(len(tokens) + 1)
        new = random.choice([*SPECIALS, random.randrange(VOCAB_SIZE)])
        tokens[at : at + random.randrange(2)] = [new]
    return tokens or [special["end"]]


def strange_turns(seed: int, count: int) -> Iterator[list[list[int]]]:
    """The steps of each of ``count`` turns."""
    random = Random(seed)
    for _ in range(count):
        yield [strange_step(random) for _ in range(4)]


def check_sound(messages: list[Message]) -> None:
    """Calls have results, the end is an answer, and tokens and JSON give it back."""
    begun = next(i for i, m in enumerate(messages) if m.role == "user") + 1
    for message, following in pairwise(messages[begun:]):
        assert message.role in ("assistant", "tool")
        called = message.role == "assistant" and message.recipient is not None
        assert (following.role == "tool") is called
    last = messages[-1]
    assert (last.role, last.channel, last.recipient) == ("assistant", "final", None)

    tokens = render_conversation(messages, load_tokenizer(), next_role=None, drop=False)
    read = [parsed.message for parsed in parse(tokens, load_tokenizer())]
    assert [(m.role, m.name, m.recipient) for m in read] == [
        (m.role, m.name, m.recipient) for m in messages
    ]
    assert conversation_from_json(conversation_to_json(messages)) == messages


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_turn_is_answered_and_can_be_gone_on_with(
    count: int, note: Note, capsys: pytest.CaptureFixture[str]
) -> None:
    """No exception, whatever is written; nothing of it reaches a terminal raw."""
    tools = [Functions([Function(ToolDescription("f", "Does it."), lambda **_: "1")])]
    for steps in strange_turns(count, count):
        scripted = Scripted(*steps, forever=True)
        llm = LLM(Path("model"), scripted, load_tokenizer())
        conversation = llm.conversation(tools=tools)
        shown = io.StringIO()
        answer_lines(conversation, ["Well?\n"], shown, say)

        check_sound(conversation.messages)
        assert not raw_controls(shown.getvalue() + capsys.readouterr().err)
        assert len(scripted.prompts) < 100
    note("turns", count)
