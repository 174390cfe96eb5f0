"""Recognises calls in a model's messages, and prepares them for the next prompt."""

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
"""Recipients of texts for the user."""

SAME_CALLS = 3
"""How often the same calls with the same results count as a loop."""

MAX_CALL_PERIOD = 4
"""Calls in the longest loop that is detected."""

CallRecord = tuple[str | None, str, str]
"""A call's recipient and content, and its result."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool.

    Attributes:
        message: The call in the next prompt.
        recipient: As written by the model; None if it named no tool.
        is_whole: Whether the model completed it.
    """

    message: Message
    recipient: str | None
    is_whole: bool


def assistant_deltas(deltas: Sequence[Delta]) -> list[Delta]:
    """Return the assistant's deltas; only those for a tool keep a recipient."""
    return [
        replace(delta, recipient=None) if delta.recipient in NO_TOOL else delta
        for delta in deltas
        if delta.role == "assistant"
    ]


def speaks_for_others(last: Sequence[ParsedMessage], deltas: Sequence[Delta]) -> bool:
    """Whether the model goes on as the user or a tool, so its own part has ended."""
    roles = [delta.role for delta in deltas] + [parsed.message.role for parsed in last]
    return any(role != "assistant" for role in roles)


def begun_messages(messages: Sequence[ParsedMessage]) -> list[ParsedMessage]:
    """Return the assistant's messages that have begun.

    Text without a header is reasoning if a message with a header follows.
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
    """Whether a message ends before its content, perhaps within a channel's name."""
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
    """Return a model's message in the form for the next prompt.

    A call without a tool, or with a name that a header cannot hold, becomes one of
    ``functions``. A call on ``final`` gets another channel, since ``final`` ends the turn.
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
    """Make the message with the result of a call.

    Args:
        recipient: The call's recipient.
        text: The tool's result.
        channel: The call's channel.
    """
    name = recipient or FUNCTIONS
    if is_name(name) and not is_tool_name(name):
        name = f"{FUNCTIONS}.{name}"  # otherwise it would be parsed as another role's
    return Message("tool", text, channel=channel, recipient="assistant", name=name)


def repeats_calls(
    done: Sequence[CallRecord], key: tuple[str | None, str]
) -> CallRecord | None:
    """Return how a call would be recorded if it were the third repetition of a loop.

    None if results differed: a page is read on by the same call, for example.
    """
    for period in range(1, MAX_CALL_PERIOD + 1):
        count = SAME_CALLS * period - 1
        last = done[-count:]
        circle = len(last) == count and last[period:] == last[:-period]
        if circle and last[-period][:2] == key:
            return last[-period]
    return None
