from __future__ import annotations

import datetime

import pytest
from scripted import Scripted, turn

from gptoss_mlx.conversation.conversation import Session
from gptoss_mlx.conversation.turn import TurnEnd
from gptoss_mlx.errors import ContextError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.tokenizer import load_tokenizer


def finals(session: Session, question: str) -> list[str]:
    """Ask; return the pieces of the final answer."""
    return [
        event.text
        for event in session.ask(question)
        if isinstance(event, Delta) and event.channel == "final"
    ]


def test_an_answer_streams_with_its_reasoning_before_it() -> None:
    """Token by token, each piece with its channel."""
    session = Session(Scripted(turn("Let me see.", "It is so.")), load_tokenizer())
    *deltas, end = session.ask("Why?")

    assert [d.channel for d in deltas if isinstance(d, Delta)] == [
        *["analysis"] * 4,
        *["final"] * 4,
    ]
    assert [d.text for d in deltas if isinstance(d, Delta)][:4] == [
        "Let",
        " me",
        " see",
        ".",
    ]
    assert isinstance(end, TurnEnd)
    assert end.reason == "stop"


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
    while getattr(next(deltas), "text", None) != "It":
        pass
    deltas.close()

    assert session.messages[1:] == [Message("user", "Why?"), *turn("Hm.", "It")]
    assert finals(session, "And?") == ["Two", "."]


def test_an_answer_stopped_while_reasoning_is_an_empty_one() -> None:
    """So that the reasoning is dropped from the next prompt."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two."))
    session = Session(model, load_tokenizer())
    deltas = session.ask("First?")
    next(deltas)
    deltas.close()
    list(session.ask("Second?"))

    assert "Hm" not in model.prompts[1]


def test_another_effort_holds_from_the_next_turn_on() -> None:
    """The messages stay; the system message says the new effort."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two."))
    session = Session(model, load_tokenizer(), instructions="Be brief.")
    finals(session, "First?")
    session.effort = "high"
    finals(session, "Second?")

    assert "Reasoning: high" in model.prompts[1]
    assert "One." in model.prompts[1]
    assert model.prompts[1].count("Be brief.") == 1


def test_a_cleared_session_begins_anew() -> None:
    """Nothing that was said is in the next prompt; the instructions are."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two."))
    session = Session(model, load_tokenizer(), instructions="Be brief.")
    finals(session, "First?")
    session.clear()
    finals(session, "Second?")

    assert "First?" not in model.prompts[1]
    assert "Be brief." in model.prompts[1]


def test_a_question_without_room_is_not_kept() -> None:
    """A shorter one is answered afterwards."""
    model = Scripted(turn("Hm.", "One."), context_tokens=200)
    session = Session(model, load_tokenizer())
    before = list(session.messages)

    with pytest.raises(ContextError):
        finals(session, "word " * 200)
    assert session.messages == before
    assert finals(session, "First?") == ["One", "."]


def test_every_token_is_noticed() -> None:
    """Also those of a header that never ends, which make no event."""
    seen = 0

    def watch() -> None:
        nonlocal seen
        seen += 1
        if seen == 7:
            raise KeyboardInterrupt

    session = Session(Scripted([2210] * 100), load_tokenizer())
    with pytest.raises(KeyboardInterrupt):
        list(session.ask("Why?", watch=watch))

    assert seen == 7
    assert session.messages[-1].channel == "final"
