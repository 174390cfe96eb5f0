"""Messages to the user about a turn."""

from __future__ import annotations

from gptoss_mlx.conversation.turn_events import EndReason
from gptoss_mlx.conversation.usage import Usage

__all__ = ["ContextNotice", "ending", "tokens_text"]

# The context is mentioned from 16 twentieths on, at each twentieth.
TWENTIETHS = 20
FIRST_NOTICE = 16


def tokens_text(count: int) -> str:
    """Write a number of tokens."""
    return f"{count:,} token" if count == 1 else f"{count:,} tokens"


def ending(reason: EndReason, *, context_tokens: int, answered: bool) -> str | None:
    """Explain why a turn ended, if it did not end normally.

    Args:
        reason: Why it ended.
        context_tokens: The most tokens of the context.
        answered: Whether there is any answer.
    """
    if reason == "context":
        return (
            f"The answer was cut: the context is full ({context_tokens:,} tokens). "
            "/clear starts a new conversation."
        )
    if reason == "length":
        return "The answer was cut: it reached the token limit."
    if reason == "repetition":
        return "Stopped: the answer repeated itself."
    if reason == "calls":
        return "Stopped: it kept calling tools."
    return None if answered else "(no answer)"


class ContextNotice:
    """Reports how full the context is, once for each further twentieth."""

    def __init__(self) -> None:
        self._said = 0

    def after(self, usage: Usage, *, context_tokens: int) -> str | None:
        """Return the message to show after a turn, if any."""
        used = usage.context_tokens
        level = used * TWENTIETHS // context_tokens
        if used * TWENTIETHS <= FIRST_NOTICE * context_tokens:
            level = 0
        grown = level > self._said
        # Less than before, but not much: the previous turn's reasoning was dropped.
        self._said = max(level, self._said) if level else 0
        if not grown or used >= context_tokens:
            return None
        return (
            f"Context: {used:,} of {context_tokens:,} tokens used; "
            "/clear starts a new conversation."
        )
