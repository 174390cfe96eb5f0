"""Messages of a conversation, in harmony's words.

Source: https://cookbook.openai.com/articles/openai-harmony
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

__all__ = ["Effort", "Message", "Role", "developer_message", "system_message"]

Role = Literal["system", "developer", "user", "assistant", "tool"]
Effort = Literal["low", "medium", "high"]

IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
KNOWLEDGE_CUTOFF = "2024-06"
CHANNELS = ("analysis", "commentary", "final")


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        role: Who speaks.
        content: Plain text. Text that spells a special token stays text.
        channel: ``analysis``, ``commentary`` or ``final``; only for assistant and tool.
    """

    role: Role
    content: str
    channel: str | None = None


def system_message(
    *, effort: Effort = "medium", current_date: datetime.date | None = None
) -> Message:
    """Make the system message: who the model is, and how it is to answer.

    Args:
        effort: How long to reason.
        current_date: None leaves the line out.
    """
    about = [IDENTITY, f"Knowledge cutoff: {KNOWLEDGE_CUTOFF}"]
    if current_date is not None:
        about.append(f"Current date: {current_date.isoformat()}")
    channels = (
        f"# Valid channels: {', '.join(CHANNELS)}. "
        "Channel must be included for every message."
    )
    return Message(
        "system", "\n\n".join(("\n".join(about), f"Reasoning: {effort}", channels))
    )


def developer_message(instructions: str) -> Message:
    """Make the developer message: what is elsewhere called the system prompt."""
    return Message("developer", f"# Instructions\n\n{instructions}")
