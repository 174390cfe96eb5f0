from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any

import pytest
from scripted import Scripted

from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.builtin_tools import PYTHON
from gptoss_mlx.harmony.messages import (
    DeveloperContent,
    Message,
    SystemContent,
    ToolDescription,
    ToolNamespace,
    developer_message,
    system_message,
)
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.functions import Function, Functions
from gptoss_mlx.tools.tool import Tool

ADD = ToolDescription("add", "Adds.")
FUNCTIONS = Functions([Function(ADD, lambda: "5")])
TOLD = (ToolNamespace("functions", (ADD,)),)
USER = Message("user", "Well?")
SYSTEM = system_message(effort="low")
BRIEF = {"role": "system", "content": "Be brief."}


def begun(
    messages: Sequence[Any], *, effort: Any = None, tools: Sequence[Tool] = ()
) -> list[Message]:
    """The messages of a conversation that begins with these."""
    return Conversation(
        Scripted(),
        load_tokenizer(),
        messages,
        effort=effort,
        tools=tools,
        current_date=datetime.date.today(),
    ).messages


class Python(Tool):
    """The built-in tool's instruction."""

    @property
    def instruction(self) -> ToolNamespace:
        """OpenAI's words."""
        return PYTHON

    def process(self, call: Message) -> str:
        """Say nothing."""
        return ""


def test_without_a_system_message_one_is_made() -> None:
    """It has the effort, the date, and the built-in tools."""
    today = datetime.date.today().isoformat()
    read = begun([BRIEF, USER], effort="high", tools=[FUNCTIONS, Python()])

    assert read == [
        Message(
            "system", SystemContent(effort="high", current_date=today, tools=(PYTHON,))
        ),
        Message("developer", DeveloperContent("Be brief.", TOLD)),
        USER,
    ]


def test_instructions_and_functions_follow_the_caller_s_system_message() -> None:
    """It is left as it is, and nothing is dropped."""
    read = begun([SYSTEM, BRIEF, USER], tools=[FUNCTIONS])

    assert read == [SYSTEM, Message("developer", DeveloperContent("Be brief.", TOLD)), USER]
    assert begun([SYSTEM, USER]) == [SYSTEM, USER]


def test_a_system_message_of_plain_text_stays_in_front_too() -> None:
    """It is harmony's, as what was parsed: no second one is made."""
    text = Message("system", "You are Bob.")

    assert begun([text, USER], tools=[Python()]) == [text, USER]


def test_functions_that_a_message_tells_of_are_not_told_again() -> None:
    """For example if the caller wrote the developer message."""
    developer = developer_message("Be brief.", (ADD,))

    assert begun([SYSTEM, developer, USER], tools=[FUNCTIONS]) == [
        SYSTEM,
        developer,
        USER,
    ]
    assert begun([developer, USER], tools=[FUNCTIONS])[1:] == [developer, USER]


def test_a_built_in_tool_must_be_in_the_caller_s_system_message() -> None:
    """Nobody else could tell the model of it."""
    told = system_message(tools=(PYTHON,))

    assert begun([told, USER], tools=[Python()]) == [told, USER]
    with pytest.raises(ValueError, match=r"system message but 'python' is not\."):
        begun([SYSTEM, USER], tools=[Python()])


def test_an_effort_beside_the_caller_s_system_message_is_refused() -> None:
    """One of the two would be ignored."""
    with pytest.raises(ValueError, match=r"system message but got 'high' beside it\."):
        begun([SYSTEM, USER], effort="high")


def test_an_effort_that_there_is_not_is_refused() -> None:
    """The message lists the valid efforts."""
    wrong: Any = "extreme"
    with pytest.raises(ValueError, match=r"one of low, medium, high but got 'extreme'\."):
        begun([USER], effort=wrong)


def test_instructions_in_parts_are_instructions() -> None:
    """OpenAI's API allows content in parts as well."""
    parts = [{"type": "text", "text": text} for text in ("Be brief.", "Be kind.")]
    (_, developer) = begun([{"role": "developer", "content": parts}])

    assert developer.content == DeveloperContent("Be brief.\n\nBe kind.")


def test_an_assistant_s_mapping_without_a_channel_has_one() -> None:
    """An answer is final, a call is not: it would end the turn."""
    read = begun(
        [
            {"role": "assistant", "content": "Hi.", "refusal": None, "tool_calls": None},
            {"role": "assistant", "content": "{}", "recipient": "functions.add"},
        ]
    )

    assert [message.channel for message in read[1:]] == ["final", "commentary"]


def test_a_tool_s_result_as_a_mapping_is_rendered_as_our_own() -> None:
    """It goes to the assistant, on the call's channel, with the tool's full name."""
    call = {"role": "assistant", "content": "{}", "recipient": "functions.add"}
    result = {"role": "tool", "name": "functions.add", "content": "5"}
    (*_, read) = begun([USER, call, result])

    assert read == Message(
        "tool", "5", channel="commentary", recipient="assistant", name="functions.add"
    )
    (*_, other) = begun([USER, call, {**result, "channel": "analysis", "name": "user"}])
    assert (other.channel, other.name) == ("analysis", "functions.user")


@pytest.mark.parametrize(
    ("wrong", "said", "hint"),
    [
        ({"role": "bob", "content": "x"}, "messages[2].role must be one of", "Give each"),
        ({"role": "user"}, "messages[2].content must be a text or a list", "Give each"),
        (
            {"role": "assistant", "content": None},
            "messages[2].content must be a text or a list but is nothing.",
            "Give each",
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            "messages[2] must have no keys but role, content, name, channel, recipient, "
            "content_type but has 'tool_calls'.",
            'Give a call as {"role": "assistant", "recipient": "functions.NAME", ',
        ),
        (
            {"role": "assistant", "annotations": [], "tool_calls": [{"id": "1"}]},
            "has 'annotations'.",
            '"name": "functions.NAME", "content": "..."}, or pass Answer.messages.',
        ),
        (
            {"role": "tool", "content": "5", "tool_call_id": "1"},
            "has 'tool_call_id'.",
            "Answer.messages",
        ),
        ({"role": "user", "content": "x", "text": "y"}, "but has 'text'.", "Give each"),
        ("hello", "messages[2] must be an object but is 'hello'.", "Give each"),
    ],
)
def test_a_mapping_that_is_no_message_is_refused(wrong: Any, said: str, hint: str) -> None:
    """The error has its place in the list, and what to write in Python."""
    with pytest.raises(HarmonyError, match=re.escape(said)) as caught:
        begun([SYSTEM, BRIEF, wrong])

    assert caught.value.hint.startswith(hint) or hint in caught.value.hint
    assert "harmony render" not in caught.value.hint
