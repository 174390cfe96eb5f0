"""What a conversation begins with: who the model is, and which tools it has."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from gptoss_mlx.conversation.read import Given
from gptoss_mlx.harmony.messages import (
    FUNCTIONS,
    DeveloperContent,
    Effort,
    Message,
    SystemContent,
    system_message,
)
from gptoss_mlx.harmony.names import check_tool_name
from gptoss_mlx.tools.tool import Tool

__all__ = ["opening_messages"]


def opening_messages(
    given: Given = Given(),
    *,
    effort: Effort | None = None,
    instructions: str | None = None,
    current_date: datetime.date | None = None,
    tools: Sequence[Tool] = (),
) -> list[Message]:
    """Make the system message, and the developer message if there is anything in it.

    Args:
        given: What the caller gave. A system message there is left as it is.
        effort: How long the model is to reason. None: medium.
        instructions: What is elsewhere called the system prompt; the given ones follow.
        current_date: What the model is told. None tells it nothing.
        tools: Those named ``functions`` are the developer's, the others the system's.
            Those that a given message tells of already are left out.

    Raises:
        HarmonyError: A tool has the name of a role, or one that no header can hold.
        ValueError: There is no such effort; or a given system message stands beside an
            effort, or beside a built-in tool that it does not tell of.
    """
    for tool in tools:
        check_tool_name(tool.name)
    untold = _untold(given, tools)
    builtin = tuple(tool.instruction for tool in untold if tool.name != FUNCTIONS)
    own = tuple(tool.instruction for tool in untold if tool.name == FUNCTIONS)
    if given.system is None:
        system = system_message(
            effort="medium" if effort is None else effort,
            current_date=current_date,
            tools=builtin,
        )
    else:
        _check_agrees(given.system, effort, untold)
        system = given.system
    texts = [*([] if instructions is None else [instructions]), *given.instructions]
    if not (texts or own):
        return [system]
    text = "\n\n".join(texts) if texts else None
    return [system, Message("developer", DeveloperContent(text, own))]


def _untold(given: Given, tools: Sequence[Tool]) -> list[Tool]:
    """Return the tools that no message tells the model of."""
    messages = [*([given.system] if given.system else []), *given.messages]
    told = {
        namespace.name
        for message in messages
        for part in message.parts
        if isinstance(part, (SystemContent, DeveloperContent))
        for namespace in part.tools
    }
    return [tool for tool in tools if tool.name not in told]


def _check_agrees(system: Message, effort: Effort | None, untold: Sequence[Tool]) -> None:
    """Refuse what only the caller's own system message could tell the model."""
    if effort is not None:
        raise ValueError(
            "[Conversation] effort must be left to the system message that stands in "
            f"front but got {effort!r}."
        )
    if any(isinstance(part, str) for part in system.parts):
        return  # A text system message is not checked.
    for tool in untold:
        if tool.name != FUNCTIONS:
            raise ValueError(
                "[Conversation] built-in tools must be told of in the system message that "
                f"stands in front but {tool.name!r} is not."
            )
