from __future__ import annotations

import datetime

from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.harmony.builtin_tools import PYTHON
from gptoss_mlx.harmony.messages import (
    DeveloperContent,
    Message,
    SystemContent,
    ToolDescription,
    ToolNamespace,
)
from gptoss_mlx.tools.functions import Function, Functions
from gptoss_mlx.tools.tool import Tool

WEATHER = ToolDescription("weather", "Tells it.")


class Python(Tool):
    """The built-in tool's instruction."""

    @property
    def instruction(self) -> ToolNamespace:
        """OpenAI's words."""
        return PYTHON

    def process(self, call: Message) -> str:
        """Say nothing."""
        return ""


def test_a_plain_conversation_begins_with_the_system_message_alone() -> None:
    """No developer message where there is nothing in it; no date unless it is given."""
    assert opening_messages() == [Message("system", SystemContent())]


def test_effort_and_date_stand_in_the_system_message() -> None:
    """The date has OpenAI's format."""
    (system,) = opening_messages(effort="high", current_date=datetime.date(2025, 8, 5))

    assert system.content == SystemContent(effort="high", current_date="2025-08-05")


def test_instructions_are_the_developer_s() -> None:
    """Even if they are empty."""
    for text in ("Be brief.", ""):
        _, developer = opening_messages(instructions=text)

        assert developer == Message("developer", DeveloperContent(text))


def test_built_in_tools_are_the_system_s_and_functions_the_developer_s() -> None:
    """As in the model's training."""
    functions = Functions([Function(WEATHER, print)])
    system, developer = opening_messages(tools=[functions, Python()])

    assert system.content == SystemContent(tools=(PYTHON,))
    assert developer.content == DeveloperContent(
        None, (ToolNamespace("functions", (WEATHER,)),)
    )
