from __future__ import annotations

import pytest
from scripted import Scripted, Step, call, turn, written

from gptoss_mlx.conversation.answer import Answer, AnswerText, audience, collect
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.conversation.turn_events import ToolCall, TurnEnd
from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer

CALL = ToolCall(Message("assistant", "{}", recipient="functions.f"))
END = TurnEnd("stop", Usage())
ANNOUNCED = Message("assistant", "I will look.", channel="commentary")


def asked(*steps: Step) -> Answer:
    """Ask a model that says this."""
    return Conversation(Scripted(*steps), load_tokenizer()).ask("Well?")


def tokens_of(text: str) -> list[int]:
    """Encode a text in which special tokens are meant as such."""
    tokens: list[int] = []
    for piece in text.replace("<|", "\0<|").replace("|>", "|>\0").split("\0"):
        special = SPECIAL_TOKENS.get(piece)
        encoded = load_tokenizer().encode(piece)
        tokens += encoded if special is None else [special]
    return tokens


def test_two_messages_are_parted() -> None:
    """By an empty line, wherever the pieces of a message end."""
    answer = AnswerText()
    events = [
        Delta("final", "one", index=1),
        Delta("final", " more", index=1),
        Delta("final", "two", index=2),
    ]

    assert [answer.push(event) for event in events] == ["one", " more", "\n\ntwo"]
    assert answer.text == "one more\n\ntwo"


def test_two_messages_of_one_place_are_parted_by_the_call_between_them() -> None:
    """Each step of a turn counts its messages from 0."""
    answer = AnswerText()
    said = [
        answer.push(event) for event in (Delta("final", "a"), CALL, Delta("final", "b"))
    ]

    assert said == ["a", "", "\n\nb"]


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (Delta("final", "So."), "user"),
        (Delta("commentary", "I will look."), "user"),
        (Delta("finale", "So."), "user"),
        (Delta("analysis", "Hm."), "reasoning"),
        (Delta("commentary", "{}", "functions.f"), "tool"),
        (Delta("analysis", "1 + 1", "python"), "tool"),
        (Delta("final", "{}", "functions.f"), "tool"),
        (ANNOUNCED, "user"),
    ],
)
def test_a_piece_speaks_to_one(piece: Delta | Message, expected: str) -> None:
    """The user, the model itself, or a tool; an unknown channel is the user's."""
    assert audience(piece) == expected


@pytest.mark.parametrize(
    "event", [Delta("analysis", "Hm."), Delta("commentary", "{}", "functions.f"), CALL, END]
)
def test_what_is_no_answer_is_left_out(event: Delta | ToolCall | TurnEnd) -> None:
    """Reasoning, calls, and what is no text."""
    answer = AnswerText()

    assert answer.push(event) == answer.text == ""


def test_commentary_that_no_call_follows_is_the_answer() -> None:
    """It is known when the turn ends, or when more is said to the user."""
    answer = asked([Message("assistant", "Hm.", channel="analysis"), ANNOUNCED])

    assert (answer.text, answer.reasoning) == ("I will look.", "Hm.")
    assert asked([ANNOUNCED, *turn("Hm.", "So.")]).text == "I will look.\n\nSo."


def test_commentary_that_a_call_follows_only_announced_it() -> None:
    """Also where there is reasoning between the two."""
    thought = Message("assistant", "Hm.", channel="analysis")
    steps = [[ANNOUNCED, thought, *call("functions.f", "{}")], turn("So.", "Sunny.")]
    answer = asked(*steps)

    assert (answer.text, answer.reasoning) == ("Sunny.", "Hm.\n\nSo.")


def test_what_is_said_to_no_tool_and_ended_as_a_call_is_not_the_answer() -> None:
    """It was a call that names no tool."""
    said = tokens_of("<|channel|>commentary<|message|>{}<|call|>")

    assert asked(said, turn("", "So.")).text == "So."


def test_a_call_that_was_cut_was_announced_all_the_same() -> None:
    """The turn ended before it could be run."""
    said = [ANNOUNCED, *call("functions.f", "{}")]
    conversation = Conversation(Scripted(said), load_tokenizer())
    tokens = len(written(said))

    assert conversation.ask("Well?", max_tokens=tokens - 1).text == ""


def test_a_channel_that_nobody_knows_is_the_answer() -> None:
    """Nothing that may be the answer is lost."""
    assert asked([Message("assistant", "Sunny.", channel="weather")]).text == "Sunny."


@pytest.mark.parametrize(
    ("said", "reasoning", "text"),
    [
        (
            "Let me see.<|end|><|start|>assistant<|channel|>final<|message|>42<|return|>",
            "Let me see.",
            "42",
        ),
        (
            "Let me see.<|end|><|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>"
            "<|start|>assistant<|channel|>final<|message|>42<|return|>",
            "Let me see.\n\nHm.",
            "42",
        ),
        (
            "One.<|end|><|start|>assistant Two.<|end|>"
            "<|start|>assistant<|channel|>final<|message|>42<|return|>",
            "One.\n\n Two.",
            "42",
        ),
        ("It is 42.<|end|><|start|>user<|message|>Hi<|end|>", "", "It is 42."),
        ("It is 42.<|end|><|return|>", "", "It is 42."),
        ("It is 42.<|return|>", "", "It is 42."),
        ("It is 42.<|end|><|start|>assistant", "", "It is 42."),
    ],
)
def test_text_without_a_header_is_reasoning_if_a_message_follows(
    said: str, reasoning: str, text: str
) -> None:
    """And else the answer; the conversation keeps it as what it was."""
    answer = asked(tokens_of(said))
    channels = {m.text: m.channel for m in answer.messages}

    assert (answer.reasoning, answer.text) == (reasoning, text)
    assert all(
        channels[thought] == "analysis" for thought in reasoning.split("\n\n") if thought
    )
    assert channels[text] == "final"


def test_a_turn_without_an_end_is_refused() -> None:
    """It is no turn."""
    with pytest.raises(ValueError, match="must end with a TurnEnd"):
        collect(event for event in [Delta("final", "So.")])
