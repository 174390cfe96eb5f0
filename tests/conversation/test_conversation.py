from __future__ import annotations

import datetime
import threading

import pytest
from scripted import Said, Scripted, turn

from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.conversation.turn_events import TurnEnd
from gptoss_mlx.errors import ContextError
from gptoss_mlx.generation.request import Request
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.tokenizer import load_tokenizer


def finals(conversation: Conversation, question: str) -> list[str]:
    """Ask; return the pieces of the final answer."""
    return [
        event.text
        for event in conversation.stream(question)
        if isinstance(event, Delta) and event.channel == "final"
    ]


def test_an_answer_streams_with_its_reasoning_before_it() -> None:
    """Token by token, each piece with its channel."""
    conversation = Conversation(
        Scripted(turn("Let me see.", "It is so.")), load_tokenizer()
    )
    *deltas, end = conversation.stream("Why?")

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
    conversation = Conversation(model, load_tokenizer())
    for question in ("First?", "Second?"):
        list(conversation.stream(question))

    assert model.prompts[1].partition("<|start|>user")[2] == (
        "<|message|>First?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>One.<|end|>"
        "<|start|>user<|message|>Second?<|end|><|start|>assistant"
    )
    assert conversation.messages[-2:] == turn("Hm.", "Two.")


def test_the_model_is_told_what_the_session_was() -> None:
    """Effort, date and instructions stand in the prompt."""
    model = Scripted(turn("", "Yes."))
    conversation = Conversation(
        model,
        load_tokenizer(),
        effort="low",
        instructions="Be brief.",
        current_date=datetime.date(2025, 6, 28),
    )
    list(conversation.stream("Well?"))

    assert "Reasoning: low" in model.prompts[0]
    assert "Current date: 2025-06-28" in model.prompts[0]
    assert "# Instructions\n\nBe brief.<|end|>" in model.prompts[0]


def test_a_stopped_answer_stays_in_the_conversation() -> None:
    """When the caller stops listening, what came so far is the answer."""
    conversation = Conversation(
        Scripted(turn("Hm.", "It is so."), turn("Hm.", "Two.")), load_tokenizer()
    )
    deltas = conversation.stream("Why?")
    while getattr(next(deltas), "text", None) != "It":
        pass
    deltas.close()

    assert conversation.messages[1:] == [Message("user", "Why?"), *turn("Hm.", "It")]
    assert finals(conversation, "And?") == ["Two", "."]


def test_an_answer_stopped_while_reasoning_is_an_empty_one() -> None:
    """So that the reasoning is dropped from the next prompt."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two."))
    conversation = Conversation(model, load_tokenizer())
    deltas = conversation.stream("First?")
    next(deltas)
    deltas.close()
    list(conversation.stream("Second?"))

    assert "Hm" not in model.prompts[1]


def test_another_effort_holds_from_the_next_turn_on() -> None:
    """The messages stay; the system message says the new effort."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two."))
    conversation = Conversation(model, load_tokenizer(), instructions="Be brief.")
    finals(conversation, "First?")
    conversation.effort = "high"
    finals(conversation, "Second?")

    assert "Reasoning: high" in model.prompts[1]
    assert "One." in model.prompts[1]
    assert model.prompts[1].count("Be brief.") == 1


def test_a_cleared_session_begins_anew() -> None:
    """Nothing that was said is in the next prompt; the instructions are."""
    model = Scripted(turn("Hm.", "One."), turn("Hm.", "Two."))
    conversation = Conversation(model, load_tokenizer(), instructions="Be brief.")
    finals(conversation, "First?")
    conversation.clear()
    finals(conversation, "Second?")

    assert "First?" not in model.prompts[1]
    assert "Be brief." in model.prompts[1]


def test_a_question_without_room_is_not_kept() -> None:
    """A shorter one is answered afterwards."""
    model = Scripted(turn("Hm.", "One."), context_tokens=200)
    conversation = Conversation(model, load_tokenizer())
    before = list(conversation.messages)

    with pytest.raises(ContextError):
        finals(conversation, "word " * 200)
    assert conversation.messages == before
    assert finals(conversation, "First?") == ["One", "."]


def test_every_token_is_noticed() -> None:
    """Also those of a header that never ends, which make no event."""
    seen = 0

    def watch() -> None:
        nonlocal seen
        seen += 1
        if seen == 7:
            raise KeyboardInterrupt

    conversation = Conversation(Scripted([2210] * 100), load_tokenizer())
    with pytest.raises(KeyboardInterrupt):
        list(conversation.stream("Why?", watch=watch))

    assert seen == 7
    assert conversation.messages[-1].channel == "final"


def test_the_next_question_ends_an_answer_that_was_left_open() -> None:
    """What came so far is that answer, and it stands before the question."""
    model = Scripted(turn("Hm.", "It is so."), turn("Hm.", "Two."))
    conversation = Conversation(model, load_tokenizer())
    left = conversation.stream("One?")
    while getattr(next(left), "text", None) != "It":
        pass
    answer = conversation.ask("Two?")

    assert answer.text == "Two."
    assert list(left) == []
    assert conversation.messages[1:] == [
        Message("user", "One?"),
        *turn("Hm.", "It"),
        Message("user", "Two?"),
        *turn("Hm.", "Two."),
    ]


def test_two_threads_cannot_be_answered_at_once() -> None:
    """The second is refused, and nothing of its question is kept."""
    refused: list[str] = []

    def interfere() -> None:
        with pytest.raises(
            ValueError, match="one question must be answered at a time"
        ) as e:
            conversation.ask("Two?")
        refused.append(str(e.value))

    class Interfering(Scripted):
        def __call__(self, request: Request) -> Said:
            thread = threading.Thread(target=interfere)
            thread.start()
            thread.join()
            return super().__call__(request)

    conversation = Conversation(Interfering(turn("", "One.")), load_tokenizer())

    assert conversation.ask("One?").text == "One."
    assert len(refused) == 1
    assert [m.text for m in conversation.messages if m.role == "user"] == ["One?"]


def test_a_seed_that_there_is_not_is_refused() -> None:
    """Also where turns have seeds of their own."""
    for seed in (-1, 1 << 64):
        with pytest.raises(ValueError, match="seed must be an integer from 0 to"):
            Conversation(Scripted(), load_tokenizer(), sampling=Sampling(seed=seed))
