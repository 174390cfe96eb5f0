"""What a caller gives to be answered, as the conversation that the model is shown."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.json_form import message_from_json
from gptoss_mlx.harmony.messages import (
    DeveloperContent,
    Effort,
    Message,
    SystemContent,
)
from gptoss_mlx.tools.tool import FUNCTIONS, Tool

__all__ = ["read_conversation"]

KEYS = ("role", "content", "name", "channel", "recipient", "content_type")


def read_conversation(
    messages: Sequence[Message | Mapping[str, object]],
    *,
    effort: Effort | None = None,
    tools: Sequence[Tool] = (),
) -> list[Message]:
    """Read what is to be answered, and put in front what the model must be told.

    Args:
        messages: As ``LLM.stream`` takes them.
        effort: How long to reason. None: as a system ``Message`` says, else medium.
        tools: What the model may call. Those that no message tells of are told of.

    Raises:
        HarmonyError: A mapping is no message. The error names the place.
        ValueError: A system ``Message`` stands in front, which is left as it is, and
            does not agree with ``effort`` or with a built-in tool.
    """
    given: list[Message] = []
    instructions: list[str] = []
    for i, item in enumerate(messages):
        if isinstance(item, Message):
            given.append(item)
            continue
        message = _read(item, f"messages[{i}]")
        texts = [part for part in message.parts if isinstance(part, str)]
        told = message.role in ("system", "developer")
        if told and len(texts) == len(message.parts):
            instructions += texts
        elif message.role == "assistant" and message.channel is None:
            calls = message.recipient is not None
            given.append(replace(message, channel="commentary" if calls else "final"))
        else:
            given.append(message)
    untold = _untold(given, tools)
    text = "\n\n".join(instructions) if instructions else None
    if given and given[0].role == "system":
        _check_agrees(given[0], effort, untold)
        own = [tool for tool in untold if tool.name == FUNCTIONS]
        developer = opening_messages(instructions=text, tools=own)[1:]
        return [given[0], *developer, *given[1:]]
    opening = opening_messages(
        effort="medium" if effort is None else effort,
        instructions=text,
        current_date=datetime.date.today(),
        tools=untold,
    )
    return [*opening, *given]


def _read(item: object, where: str) -> Message:
    """Read a mapping. Nothing in it is left out silently."""
    hint = 'Give each message as {"role": "user", "content": "..."}.'
    fields = item if isinstance(item, Mapping) else {}
    for key, value in fields.items():
        # OpenAI's client writes what a message does not have as None.
        if key in KEYS or value is None:
            continue
        if key in ("tool_calls", "tool_call_id", "function_call"):
            hint = "Give calls and results as Answer.messages has them."
        raise HarmonyError(
            f"{where} must have no keys but {', '.join(KEYS)} but has {key!r}.", hint=hint
        )
    try:
        return message_from_json(item, where)
    except HarmonyError as error:
        raise HarmonyError(str(error), hint=hint) from error


def _untold(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Tool]:
    """Return the tools that no message tells the model of."""
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
            "[LLM] effort must be left to the system message that stands in front "
            f"but got {effort!r}."
        )
    if any(isinstance(part, str) for part in system.parts):
        return  # What a text tells of is its writer's affair.
    for tool in untold:
        if tool.name != FUNCTIONS:
            raise ValueError(
                "[LLM] built-in tools must be told of in the system message that "
                f"stands in front but {tool.name!r} is not."
            )
