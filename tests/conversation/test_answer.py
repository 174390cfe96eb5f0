from __future__ import annotations

import pytest

from gptoss_mlx.conversation.answer import AnswerText
from gptoss_mlx.conversation.turn import ToolCall, TurnEnd, Usage
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta


def test_two_messages_are_parted() -> None:
    """By one line's end, wherever the pieces of a message end."""
    answer = AnswerText()
    events = [
        Delta("final", "one", index=1),
        Delta("final", " more", index=1),
        Delta("final", "two", index=2),
    ]

    assert [answer.push(event) for event in events] == ["one", " more", "\ntwo"]
    assert answer.text == "one more\ntwo"


@pytest.mark.parametrize(
    "event",
    [
        Delta("analysis", "Hm."),
        Delta("commentary", "I will look."),
        Delta("commentary", "{}", "functions.f"),
        Delta("final", "{}", "functions.f"),
        ToolCall(Message("assistant", "{}", recipient="functions.f")),
        TurnEnd("stop", Usage()),
    ],
)
def test_what_is_no_answer_is_left_out(event: Delta | ToolCall | TurnEnd) -> None:
    """Reasoning, preambles, calls on whatever channel, and what is no text."""
    answer = AnswerText()

    assert answer.push(event) == answer.text == ""


def test_a_channel_that_nobody_knows_may_be_the_answer() -> None:
    """It is shown."""
    assert AnswerText().push(Delta("finale", "So.")) == "So."
