"""The same tokens give the same answer, whoever asks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from scripted import Scripted, call, turn, written
from typer.testing import CliRunner

from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.cli.app import app
from gptoss_mlx.harmony.messages import CHANNELS, Message
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer

WORDS = (
    "So.",
    "It is 42.",
    "I will look.",
    "Hm, let me see.",
    "# A\n\n- *b*",
    "Ünïcode 💖",
)
SPECIAL = tuple(SPECIAL_TOKENS[f"<|{name}|>"] for name in ("end", "start", "message"))


def step(random: Random) -> list[int]:
    """What a model might write up to a call or its end."""
    messages = [
        Message(
            "assistant",
            random.choice(WORDS),
            channel=random.choice([*CHANNELS, *CHANNELS, "weather", None]),
            recipient=random.choice([None] * 8 + ["all", "functions.f"]),
        )
        for _ in range(random.randrange(1, 4))
    ]
    kind = random.randrange(10)
    if kind < 3:
        messages = [*messages[:-1], *call("functions.f", "{}", thought="So.")]
    elif kind < 7:
        messages = [*messages[:-1], *turn("Hm.", random.choice(WORDS))]
    tokens = [token for token in written(messages) if isinstance(token, int)]
    if random.random() < 0.3:  # text without a header
        tokens = [
            *load_tokenizer().encode(random.choice(WORDS)),
            SPECIAL_TOKENS["<|end|>"],
            SPECIAL_TOKENS["<|start|>"],
            *load_tokenizer().encode("assistant"),
            *tokens,
        ]
    if random.random() < 0.2:
        tokens[random.randrange(len(tokens))] = random.choice(SPECIAL)
    if random.random() < 0.1:
        del tokens[random.randrange(len(tokens)) :]
    return tokens or [9552]


def turns(seed: int, count: int) -> Iterator[list[list[int]]]:
    """Turns of a few steps."""
    random = Random(seed)
    for _ in range(count):
        yield [step(random) for _ in range(12)]


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_four_ways_to_ask_give_one_answer(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """``ask``, ``stream``, ``gptoss-mlx ask`` and chat by pipe, over random turns."""
    answered = 0
    for steps in turns(count, count):

        def llm() -> LLM:
            scripted = Scripted(*steps, forever=True)  # noqa: B023 - called at once
            return LLM(Path("model"), scripted, load_tokenizer())

        text = llm().ask("Well?").text
        monkeypatch.setattr("gptoss_mlx.llm.load", lambda *_, **__: llm())
        printed = CliRunner().invoke(app, ["ask", "Well?"], input="").stdout
        piped = io.StringIO()
        answer_lines(llm().conversation(), ["Well?\n"], piped, print)

        streamed = "".join(piece.answer for piece in llm().stream("Well?"))

        assert streamed == text
        assert printed == (f"{text}\n" if text and not text.endswith("\n") else text)
        assert piped.getvalue() == f"{text}\n"
        answered += bool(text)
    assert answered > count / 2
