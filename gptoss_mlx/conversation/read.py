"""Reads a caller's messages as harmony messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gptoss_mlx.conversation.calls import result_message
from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.json_form import message_from_json
from gptoss_mlx.harmony.messages import Message

__all__ = ["Given", "Messages", "read_messages"]

Messages = str | Sequence[Message | Mapping[str, object]]
"""A user's text, harmony messages, or OpenAI's mappings."""

HINT = 'Give each message as {"role": "user", "content": "..."}.'

CALLS_HINT = (
    'Give a call as {"role": "assistant", "recipient": "functions.NAME", "content": '
    '"{...}"} and its result as {"role": "tool", "name": "functions.NAME", "content": '
    '"..."}, or pass Answer.messages.'
)

CALL_KEYS = ("tool_calls", "tool_call_id", "function_call")

KEYS = ("role", "content", "name", "channel", "recipient", "content_type")


@dataclass(frozen=True, slots=True)
class Given:
    """A caller's messages, sorted.

    Attributes:
        system: The system message at the start, if it is given as a ``Message``.
        instructions: The texts of all mappings whose role is ``system`` or ``developer``.
        messages: The others, in order.
    """

    system: Message | None = None
    instructions: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()


def read_messages(messages: Messages) -> Given:
    """Check and sort a caller's messages.

    Args:
        messages: A text from the user; harmony messages, which are left as they are; or
            mappings with ``role`` and ``content`` as in OpenAI's API.

    Raises:
        HarmonyError: A mapping is not a message. The error names the place.
    """
    if isinstance(messages, str):
        messages = [Message("user", messages)]
    if isinstance(messages, (bytes, Mapping)) or not isinstance(messages, Sequence):
        raise HarmonyError(
            "messages must be a text or a list of messages but is "
            f"{type(messages).__name__}.",
            hint=HINT,
        )
    given: list[Message] = []
    instructions: list[str] = []
    for i, item in enumerate(messages):
        if isinstance(item, Message):
            given.append(item)
            continue
        message = _read(item, f"messages[{i}]")
        texts = [part for part in message.parts if isinstance(part, str)]
        is_told = message.role in ("system", "developer")
        if is_told and len(texts) == len(message.parts):
            instructions += texts
        else:
            given.append(_complete(message))
    system = given[0] if given and given[0].role == "system" else None
    return Given(system, tuple(instructions), tuple(given[1:] if system else given))


def _read(item: object, where: str) -> Message:
    """Read a mapping. An unknown key is an error."""
    fields = item if isinstance(item, Mapping) else {}
    calls = any(fields.get(key) is not None for key in CALL_KEYS)
    hint = CALLS_HINT if calls else HINT
    for key, value in fields.items():
        # OpenAI's client writes missing fields as None.
        if key in KEYS or value is None:
            continue
        raise HarmonyError(
            f"{where} must have no keys but {', '.join(KEYS)} but has {key!r}.", hint=hint
        )
    try:
        return message_from_json(item, where)
    except HarmonyError as error:
        raise HarmonyError(str(error), hint=hint) from error


def _complete(message: Message) -> Message:
    """Add the fields that harmony has and OpenAI's API lacks."""
    if message.role == "assistant" and message.channel is None:
        calls = message.recipient is not None
        return replace(message, channel="commentary" if calls else "final")
    if message.role == "tool" and message.name is not None:
        told = result_message(message.name, "", channel=message.channel or "commentary")
        return replace(
            message,
            name=told.name,
            channel=told.channel,
            recipient=message.recipient or told.recipient,
        )
    return message
