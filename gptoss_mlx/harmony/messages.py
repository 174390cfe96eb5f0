"""Messages of a conversation, with harmony's names.

Source: https://cookbook.openai.com/articles/openai-harmony
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = [
    "CHANNELS",
    "EFFORTS",
    "FUNCTIONS",
    "ROLES",
    "Content",
    "DeveloperContent",
    "Effort",
    "Message",
    "ResponseFormat",
    "Role",
    "SystemContent",
    "ToolDescription",
    "ToolNamespace",
    "developer_message",
    "system_message",
]

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["low", "medium", "high"]

ROLES: tuple[Role, ...] = get_args(Role)
EFFORTS: tuple[Effort, ...] = get_args(Effort)

IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
KNOWLEDGE_CUTOFF = "2024-06"
CHANNELS = ("analysis", "commentary", "final")

FUNCTIONS = "functions"
"""The namespace of the caller's own tools, which the developer message describes."""


@dataclass(frozen=True, slots=True)
class ToolDescription:
    """A function that the model may call.

    Attributes:
        name: Without its namespace, e.g. ``get_weather``.
        description: The text for the model, in any number of lines.
        parameters: JSON schema of the arguments. None: no arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolNamespace:
    """Tools under one name: ``functions``, or a built-in's such as ``browser``.

    A namespace without tools takes plain text, as ``python`` does.
    """

    name: str
    tools: tuple[ToolDescription, ...] = ()
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """A form requested for the answer. It steers the model, but does not force it."""

    name: str
    schema: Mapping[str, Any]
    description: str | None = None


@dataclass(frozen=True, slots=True)
class SystemContent:
    """The model's identity and settings. None leaves a line out.

    Attributes:
        effort: The reasoning effort.
        current_date: The date as shown to the model; OpenAI uses yyyy-mm-dd.
        channels: The channels named to the model. Empty leaves the section out.
        channel_required: Whether the model is told that each message needs a channel.
        tools: Built-in tools. Their order does not matter.
    """

    identity: str | None = IDENTITY
    effort: Effort | None = "medium"
    current_date: str | None = None
    knowledge_cutoff: str | None = KNOWLEDGE_CUTOFF
    channels: tuple[str, ...] = CHANNELS
    channel_required: bool = True
    tools: tuple[ToolNamespace, ...] = ()


@dataclass(frozen=True, slots=True)
class DeveloperContent:
    """The instructions, elsewhere called the system prompt, and the caller's own tools.

    Attributes:
        instructions: None leaves the section out; an empty text does not.
        tools: Usually one namespace, ``functions``. Their order does not matter.
        response_formats: Appended at the end, in this order.
    """

    instructions: str | None = None
    tools: tuple[ToolNamespace, ...] = ()
    response_formats: tuple[ResponseFormat, ...] = ()


Content = str | SystemContent | DeveloperContent


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        role: The speaker's role.
        content: Plain text, the content of a system or developer message, or several
            of these, which are encoded one by one. Text that spells a special token
            stays text.
        channel: ``analysis``, ``commentary`` or ``final``; only for assistant and tool.
        recipient: The addressee, e.g. ``functions.get_weather``. An assistant's message
            with a recipient is a call.
        content_type: E.g. ``<|constrain|>json`` or ``code``.
        name: A tool's full name, e.g. ``functions.get_weather``; rare for other roles.
    """

    role: Role
    content: Content | tuple[Content, ...]
    channel: str | None = None
    recipient: str | None = None
    content_type: str | None = None
    name: str | None = None

    @property
    def parts(self) -> tuple[Content, ...]:
        """The content as a sequence, even if it is a single one."""
        return self.content if isinstance(self.content, tuple) else (self.content,)

    @property
    def text(self) -> str:
        """The text of the content, without other parts."""
        return "".join(part for part in self.parts if isinstance(part, str))


def system_message(
    *,
    effort: Effort = "medium",
    current_date: datetime.date | None = None,
    tools: tuple[ToolNamespace, ...] = (),
) -> Message:
    """Make the system message: the model's identity and settings.

    Args:
        effort: The reasoning effort.
        current_date: None leaves the line out.
        tools: Built-in tools.

    Raises:
        ValueError: ``effort`` is not one of ``EFFORTS``.
    """
    if effort not in EFFORTS:
        raise ValueError(
            f"[system_message] effort must be one of {', '.join(EFFORTS)} "
            f"but got {effort!r}."
        )
    date = None if current_date is None else current_date.isoformat()
    return Message("system", SystemContent(effort=effort, current_date=date, tools=tools))


def developer_message(
    instructions: str | None = None,
    functions: tuple[ToolDescription, ...] = (),
    response_formats: tuple[ResponseFormat, ...] = (),
) -> Message:
    """Make the developer message: instructions, and functions that the model may call."""
    tools = (ToolNamespace(FUNCTIONS, functions),) if functions else ()
    return Message("developer", DeveloperContent(instructions, tools, response_formats))
