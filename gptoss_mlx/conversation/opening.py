"""Makes the system and developer messages at the start of a conversation."""

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
    """Make the system message, and the developer message if it has any content.

    Args:
        given: The caller's messages. A system message in them is left as it is.
        effort: The reasoning effort. None: medium.
        instructions: Elsewhere called the system prompt; the caller's messages' follow.
        current_date: The date for the model. None: no date.
        tools: ``functions`` go into the developer message, others into the system message.
            Tools that a given message already describes are left out.

    Raises:
        HarmonyError: A tool has the name of a role, or a name that a header cannot hold.
        ValueError: ``effort`` is not an effort; or a system message is given beside an
            effort, or beside a built-in tool that it does not describe.
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
    """Return the tools that no message describes yet."""
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
    """Refuse settings that belong in the caller's own system message."""
    if effort is not None:
        raise ValueError(
            "[Conversation] effort must be set in the given system message but got "
            f"{effort!r} beside it."
        )
    if any(isinstance(part, str) for part in system.parts):
        return  # A text system message is not checked.
    for tool in untold:
        if tool.name != FUNCTIONS:
            raise ValueError(
                "[Conversation] built-in tools must be in the given system message "
                f"but {tool.name!r} is not."
            )
