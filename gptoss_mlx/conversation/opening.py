"""What a conversation begins with: who the model is, and which tools it has."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from gptoss_mlx.harmony.messages import (
    DeveloperContent,
    Effort,
    Message,
    system_message,
)
from gptoss_mlx.tools.tool import FUNCTIONS, Tool

__all__ = ["opening_messages"]


def opening_messages(
    *,
    effort: Effort = "medium",
    instructions: str | None = None,
    current_date: datetime.date | None = None,
    tools: Sequence[Tool] = (),
) -> list[Message]:
    """Make the system message, and the developer message if there is anything in it.

    Args:
        effort: How long the model is to reason.
        instructions: What is elsewhere called the system prompt.
        current_date: What the model is told. None tells it nothing.
        tools: Those named ``functions`` are the developer's, the others the system's.

    Raises:
        ValueError: There is no such effort.
    """
    builtin = tuple(tool.instruction for tool in tools if tool.name != FUNCTIONS)
    own = tuple(tool.instruction for tool in tools if tool.name == FUNCTIONS)
    messages = [system_message(effort=effort, current_date=current_date, tools=builtin)]
    if instructions is not None or own:
        messages.append(Message("developer", DeveloperContent(instructions, own)))
    return messages
