from __future__ import annotations

from collections.abc import Callable

import pytest
from hostile import ESCAPES, raw_controls

from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.json_form import conversation_from_json, conversation_to_json
from gptoss_mlx.harmony.messages import (
    DeveloperContent,
    Message,
    SystemContent,
    ToolDescription,
    ToolNamespace,
)
from gptoss_mlx.harmony.parse import parse
from gptoss_mlx.harmony.render import render_message
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.tool import Tool

ROLES = ("system", "developer", "user", "assistant", "tool", "all", "User", "ASSISTANT")
NO_NAMES = (
    "",
    " ",
    "system to=x",
    "user:bob",
    "to=assistant",
    "weather\n",
    "a,b",
    "<|start|>",
    "functions.f<|channel|>final",
    *ESCAPES[:8],
)
NAMES = ("functions.get_weather", "python", "browser.search", "größe", "a-b_c.d", "users")


class Named(Tool):
    """A tool under any name."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def instruction(self) -> ToolNamespace:
        """Nothing but the name."""
        return ToolNamespace(self._name, description="Does it.")

    def process(self, call: Message) -> str:
        """Say nothing."""
        return ""


def namespaces(name: str) -> tuple[ToolNamespace, ...]:
    """One tool in a namespace of this name."""
    return (ToolNamespace(name, (ToolDescription("f", "Does it."),)),)


def function(name: str) -> Message:
    """A developer message that tells of a function of this name."""
    tools = (ToolNamespace("functions", (ToolDescription(name, "Does it."),)),)
    return Message("developer", DeveloperContent(None, tools))


AS_TOOL: dict[str, Callable[[str], Message]] = {
    "a result": lambda name: Message("tool", "20", recipient="assistant", name=name),
    "the system's tools": lambda name: Message(
        "system", SystemContent(tools=namespaces(name))
    ),
    "the developer's tools": lambda name: Message(
        "developer", DeveloperContent(None, namespaces(name))
    ),
}
AS_NAME: dict[str, Callable[[str], Message]] = {
    "a call": lambda name: Message("assistant", "{}", "commentary", name),
    "a speaker": lambda name: Message("user", "Hi.", name=name),
    "a function": function,
}


def refused(message: Message) -> None:
    """A message can neither be rendered nor read back from JSON."""
    with pytest.raises(HarmonyError) as caught:
        render_message(message, load_tokenizer())
    assert not raw_controls(str(caught.value))
    with pytest.raises(HarmonyError):
        conversation_from_json(conversation_to_json([message]))


@pytest.mark.parametrize("place", AS_TOOL)
@pytest.mark.parametrize("name", [*ROLES, *NO_NAMES])
def test_a_tool_that_would_be_read_as_another_is_refused(place: str, name: str) -> None:
    """A tool with the name of a role, or with a name that adds more to the header."""
    if place == "a result" and name in ROLES:
        with pytest.raises(HarmonyError, match="A tool's name must not be one of system"):
            render_message(AS_TOOL[place](name), load_tokenizer())
        return  # Read from JSON it is one of functions: see test_read.
    refused(AS_TOOL[place](name))


@pytest.mark.parametrize("place", AS_NAME)
@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_that_no_header_can_hold_is_refused(place: str, name: str) -> None:
    """The name of a call, of a speaker or of a function."""
    refused(AS_NAME[place](name))


NOT_CHANNELS = ("to=functions.f", "final to=x", "", "final<|message|>", "a\nb")
NOT_TYPES = (
    *NOT_CHANNELS,
    "json to=functions.g",
    "<|constrain|>json to=functions.g",
    "<|constrain|>",
    "<|reserved_200000|>",
    "functions.f",
    "Final",
)


@pytest.mark.parametrize("channel", NOT_CHANNELS)
def test_a_channel_that_would_be_read_as_more_is_refused(channel: str) -> None:
    """For example as a recipient."""
    refused(Message("assistant", "Hi.", channel=channel))


@pytest.mark.parametrize("content_type", NOT_TYPES)
def test_a_content_type_that_would_be_read_as_more_is_refused(content_type: str) -> None:
    """For example as a second recipient."""
    refused(Message("assistant", "Hi.", "final", content_type=content_type))


@pytest.mark.parametrize("name", ["system", "User", "all"])
def test_a_speaker_with_the_name_of_a_role_is_refused(name: str) -> None:
    """The header would name two roles."""
    refused(Message("assistant", "Hi.", "final", name=name))


@pytest.mark.parametrize("content_type", ["json", "<|constrain|>json", "text/x-c++"])
def test_a_content_type_is_read_as_it_was_written(content_type: str) -> None:
    """Through tokens and through JSON."""
    message = Message("assistant", "{}", "commentary", "f", content_type=content_type)
    read = parse(render_message(message, load_tokenizer()), load_tokenizer())

    assert [parsed.message for parsed in read] == [message]
    assert conversation_from_json(conversation_to_json([message])) == [message]


@pytest.mark.parametrize("name", ["system", "user:x", "functions f"])
def test_a_tool_s_name_is_checked_before_the_first_question(name: str) -> None:
    """The error comes where the tool is given."""
    with pytest.raises(HarmonyError, match="A tool's name must"):
        opening_messages(tools=[Named(name)])


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_it_was_written(name: str) -> None:
    """In a result and in a call, through tokens and through JSON."""
    for message in (AS_TOOL["a result"](name), AS_NAME["a call"](name)):
        read = parse(render_message(message, load_tokenizer()), load_tokenizer())

        assert [parsed.message for parsed in read] == [message]
        assert conversation_from_json(conversation_to_json([message])) == [message]
    for place in (AS_TOOL | AS_NAME).values():
        assert render_message(place(name), load_tokenizer())
