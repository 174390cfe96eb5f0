"""Which of a model's messages are calls, and how they stand in the next prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptoss_mlx.conversation.headerless import has_header, is_headerless
from gptoss_mlx.harmony.messages import CHANNELS, FUNCTIONS, Message
from gptoss_mlx.harmony.names import is_name, is_tool_name
from gptoss_mlx.harmony.parse import Delta, ParsedMessage
from gptoss_mlx.tokenizer import CALL, MESSAGE

__all__ = [
    "Call",
    "CallRecord",
    "as_prompted",
    "assistant_deltas",
    "begun_messages",
    "first_call",
    "repeats_calls",
    "result_message",
    "speaks_for_others",
]

NO_TOOL = (None, "all", "user")
"""Recipients of what is meant for the user."""

SAME_CALLS = 3
"""Rounds of the same calls with the same results that are a circle."""

MAX_CALL_PERIOD = 4
"""Calls in the longest round that is noticed."""

CallRecord = tuple[str | None, str, str]
"""A call's recipient and content, and its result."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool.

    Attributes:
        message: As the next prompt shows it.
        recipient: As the model wrote it; None where it named no tool.
        is_whole: Whether the model ended it.
    """

    message: Message
    recipient: str | None
    is_whole: bool


def assistant_deltas(deltas: Sequence[Delta]) -> list[Delta]:
    """Return the assistant's, with a recipient where they are for a tool alone."""
    return [
        replace(delta, recipient=None) if delta.recipient in NO_TOOL else delta
        for delta in deltas
        if delta.role == "assistant"
    ]


def speaks_for_others(last: Sequence[ParsedMessage], deltas: Sequence[Delta]) -> bool:
    """Tell whether the model goes on as the user or a tool: it has ended its own part."""
    roles = [delta.role for delta in deltas] + [parsed.message.role for parsed in last]
    return any(role != "assistant" for role in roles)


def begun_messages(messages: Sequence[ParsedMessage]) -> list[ParsedMessage]:
    """Return the assistant's messages that have begun.

    Text without a header is reasoning where a message with one follows.
    """
    begun = [
        parsed
        for parsed in messages
        if parsed.message.role == "assistant" and not _cut_in_header(parsed)
    ]
    return [
        replace(parsed, message=replace(parsed.message, channel="analysis"))
        if is_headerless(parsed) and has_header(begun[i + 1 :])
        else parsed
        for i, parsed in enumerate(begun)
    ]


def _cut_in_header(parsed: ParsedMessage) -> bool:
    """Tell whether a message broke off before its content, perhaps in a channel's name."""
    if parsed.end is not None or MESSAGE in parsed.tokens:
        return False
    text = parsed.message.text.strip()
    return any(channel.startswith(text) for channel in CHANNELS)


def first_call(messages: Sequence[ParsedMessage]) -> Call | None:
    """Return the first call."""
    for parsed in begun_messages(messages):
        if _is_call(parsed):
            recipient = parsed.message.recipient
            return Call(
                as_prompted(parsed),
                None if recipient in NO_TOOL else recipient,
                is_whole=parsed.end is not None,
            )
    return None


def _is_call(parsed: ParsedMessage) -> bool:
    message = parsed.message
    if message.recipient not in NO_TOOL:
        return True
    return parsed.end == CALL and message.channel != "final"


def as_prompted(parsed: ParsedMessage) -> Message:
    """Return what the model wrote as the next prompt is to show it.

    A call that names no tool, or one that no header can hold, is one of ``functions``; no
    call is on ``final``, which would end the turn.
    """
    message = parsed.message
    if message.name is not None and not is_name(message.name):
        message = replace(message, name=None)
    if not _is_call(parsed):
        return replace(message, channel=message.channel or "final", recipient=None)
    return replace(
        message,
        channel="analysis" if message.channel == "analysis" else "commentary",
        recipient=_callable(message.recipient),
    )


def _callable(recipient: str | None) -> str:
    if recipient is None or recipient in NO_TOOL or not is_name(recipient):
        return FUNCTIONS
    return recipient


def result_message(recipient: str | None, text: str, *, channel: str | None) -> Message:
    """Make the message that answers a call.

    Args:
        recipient: Whom the call was for.
        text: What the tool returned.
        channel: The call's.
    """
    name = recipient or FUNCTIONS
    if is_name(name) and not is_tool_name(name):
        name = f"{FUNCTIONS}.{name}"  # It would be read as another's message.
    return Message("tool", text, channel=channel, recipient="assistant", name=name)


def repeats_calls(
    done: Sequence[CallRecord], key: tuple[str | None, str]
) -> CallRecord | None:
    """Return what a call would add if it ended the third round of the same calls.

    Only if they had the same results: reading on is a call without end too.
    """
    for period in range(1, MAX_CALL_PERIOD + 1):
        count = SAME_CALLS * period - 1
        last = done[-count:]
        circle = len(last) == count and last[period:] == last[:-period]
        if circle and last[-period][:2] == key:
            return last[-period]
    return None
