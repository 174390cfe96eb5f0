from __future__ import annotations

import datetime
from collections.abc import Iterator

from gptoss_mlx.chat.session import Session
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.render import render_message
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer


class Scripted:
    """A model that says what it is told to, and remembers its prompts."""

    def __init__(self, *turns: list[Message]) -> None:
        self.turns = list(turns)
        self.prompts: list[str] = []

    def __call__(self, prompt: list[int]) -> Iterator[int]:
        """Say the next turn."""
        self.prompts.append(load_tokenizer().decode(prompt))
        tokens: list[int] = []
        for message in self.turns.pop(0):
            tokens += render_message(message, load_tokenizer())
        # The prompt has <|start|>assistant already; the turn ends with <|return|>.
        yield from tokens[2:-1]
        yield SPECIAL_TOKENS["<|return|>"]
        raise AssertionError("asked for a token after <|return|>")


def turn(thought: str, answer: str) -> list[Message]:
    """What the model writes in one turn."""
    return [
        Message("assistant", thought, channel="analysis"),
        Message("assistant", answer, channel="final"),
    ]


def test_an_answer_streams_with_its_reasoning_before_it() -> None:
    """Token by token, each piece with its channel."""
    session = Session(Scripted(turn("Let me see.", "It is so.")), load_tokenizer())
    deltas = list(session.ask("Why?"))

    assert [d.text for d in deltas if d.channel == "analysis"] == [
        "Let",
        " me",
        " see",
        ".",
    ]
    assert [d.text for d in deltas if d.channel == "final"] == ["It", " is", " so", "."]
    assert deltas[-1].channel == "final"


def test_the_next_prompt_has_the_answers_and_not_the_reasoning() -> None:
    """A second question sees the first one and its answer."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two."))
    session = Session(model, load_tokenizer())
    for question in ("First?", "Second?"):
        list(session.ask(question))

    assert model.prompts[1].partition("<|start|>user")[2] == (
        "<|message|>First?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>One.<|end|>"
        "<|start|>user<|message|>Second?<|end|><|start|>assistant"
    )
    assert session.messages[-2:] == turn("Hm.", "Two.")


def test_the_model_is_told_what_the_session_was() -> None:
    """Effort, date and instructions stand in the prompt."""
    model = Scripted(turn("", "Yes."))
    session = Session(
        model,
        load_tokenizer(),
        effort="low",
        instructions="Be brief.",
        current_date=datetime.date(2025, 6, 28),
    )
    list(session.ask("Well?"))

    assert "Reasoning: low" in model.prompts[0]
    assert "Current date: 2025-06-28" in model.prompts[0]
    assert "# Instructions\n\nBe brief.<|end|>" in model.prompts[0]


def test_a_stopped_answer_stays_in_the_conversation() -> None:
    """When the caller stops listening, what came so far is the answer."""
    session = Session(
        Scripted(turn("Hm.", "It is so."), turn("Hm.", "Two.")), load_tokenizer()
    )
    deltas = session.ask("Why?")
    while next(deltas).text != "It":
        pass
    deltas.close()

    assert session.messages[1:] == [Message("user", "Why?"), *turn("Hm.", "It")]
    assert [d.text for d in session.ask("And?") if d.channel == "final"] == ["Two", "."]


def test_an_answer_stopped_while_reasoning_is_an_empty_one() -> None:
    """So that the reasoning is dropped from the next prompt."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two."))
    session = Session(model, load_tokenizer())
    deltas = session.ask("First?")
    next(deltas)
    deltas.close()
    list(session.ask("Second?"))

    assert "Hm" not in model.prompts[1]
