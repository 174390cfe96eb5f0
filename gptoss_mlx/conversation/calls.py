"""Which of a model's messages are calls, and how they stand in the next prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gptoss_mlx.harmony.messages import CHANNELS, ROLES, Message
from gptoss_mlx.harmony.parse import CALL, MESSAGE, Delta, ParsedMessage
from gptoss_mlx.tools.tool import FUNCTIONS

__all__ = [
    "NO_TOOL",
    "Answered",
    "first_call",
    "kept",
    "others_part",
    "own",
    "result_message",
    "text_of",
    "third_time",
    "written",
]

NO_TOOL = (None, "all", "user")
"""Recipients of what is meant for the user."""

SAME_CALLS = 3
"""Rounds of the same calls with the same results that are a circle."""

MAX_CALL_PERIOD = 4
"""Calls in the longest round that is noticed."""

Answered = tuple[str | None, str, str]
"""A call's recipient and content, and its result."""


def own(deltas: Sequence[Delta]) -> list[Delta]:
    """Return the assistant's, with a recipient where they are for a tool alone."""
    return [
        replace(delta, recipient=None) if delta.recipient in NO_TOOL else delta
        for delta in deltas
        if delta.role == "assistant"
    ]


def others_part(last: Sequence[ParsedMessage], deltas: Sequence[Delta]) -> bool:
    """Tell whether the model goes on as the user or a tool: it has ended its own part."""
    roles = [delta.role for delta in deltas] + [parsed.message.role for parsed in last]
    return any(role != "assistant" for role in roles)


def written(messages: Sequence[ParsedMessage]) -> list[ParsedMessage]:
    """Return the assistant's messages that have begun."""
    return [
        parsed
        for parsed in messages
        if parsed.message.role == "assistant" and not _cut_in_header(parsed)
    ]


def _cut_in_header(parsed: ParsedMessage) -> bool:
    """Tell whether a message broke off before its content, perhaps in a channel's name."""
    if parsed.end is not None or MESSAGE in parsed.tokens:
        return False
    text = text_of(parsed.message).strip()
    return any(channel.startswith(text) for channel in CHANNELS)


def first_call(messages: Sequence[ParsedMessage]) -> ParsedMessage | None:
    """Return the first call."""
    return next((parsed for parsed in written(messages) if _is_call(parsed)), None)


def _is_call(parsed: ParsedMessage) -> bool:
    message = parsed.message
    if message.recipient not in NO_TOOL:
        return True
    return parsed.end == CALL and message.channel != "final"


def kept(parsed: ParsedMessage) -> Message:
    """Return what the model wrote as the next prompt is to show it.

    A call that names no tool is one of ``functions``; no call is on ``final``, which would
    end the turn.
    """
    message = parsed.message
    if not _is_call(parsed):
        return replace(message, channel=message.channel or "final", recipient=None)
    return replace(
        message,
        channel="analysis" if message.channel == "analysis" else "commentary",
        recipient=FUNCTIONS if message.recipient in NO_TOOL else message.recipient,
    )


def text_of(message: Message) -> str:
    """Return the content of a message that the model wrote."""
    return message.content if isinstance(message.content, str) else ""


def result_message(call: Message, text: str) -> Message:
    """Make the message that answers a call."""
    name = call.recipient or FUNCTIONS
    if name.partition(":")[0] in ROLES or name.startswith("to="):
        name = f"{FUNCTIONS}.{name}"  # It would be read as another's message.
    return Message("tool", text, channel=call.channel, recipient="assistant", name=name)


def third_time(done: Sequence[Answered], key: tuple[str | None, str]) -> Answered | None:
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
