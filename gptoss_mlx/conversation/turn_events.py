"""What a turn yields: pieces of text, calls, their results, and the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta

__all__ = ["EndReason", "ToolCall", "ToolResult", "TurnEnd", "TurnEvent"]

EndReason = Literal["stop", "length", "context", "repetition", "calls"]
"""Why a turn ended: the model was done, ``max_tokens`` were reached, the context is full,
the model repeated itself, or it kept calling tools."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool, before the tool runs."""

    call: Message


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call.

    Attributes:
        call: The call.
        result: The text for the model.
        refused: Whether it is an error's message: the call could not be run.
    """

    call: Message
    result: Message
    refused: bool = False


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The end of the turn, and its last event unless it was interrupted.

    Attributes:
        messages: All messages that the turn added to the conversation.
    """

    reason: EndReason
    usage: Usage
    messages: tuple[Message, ...] = ()


TurnEvent = Delta | ToolCall | ToolResult | TurnEnd
