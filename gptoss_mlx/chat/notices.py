"""What is said about a turn in words."""

from __future__ import annotations

from gptoss_mlx.conversation.turn import EndReason
from gptoss_mlx.conversation.usage import Usage

__all__ = ["ContextNotice", "ending", "tokens_text"]

# The context is spoken of from 16 twentieths on, at each twentieth.
TWENTIETHS = 20
FIRST_NOTICE = 16


def tokens_text(count: int) -> str:
    """Write how many tokens these are."""
    return f"{count:,} token" if count == 1 else f"{count:,} tokens"


def ending(reason: EndReason, *, context_tokens: int, answered: bool) -> str | None:
    """Say why a turn ended, unless it just did.

    Args:
        reason: Why it ended.
        context_tokens: The most the context holds.
        answered: Whether there was something to read.
    """
    if reason == "context":
        return (
            f"The answer was cut: the context is full ({context_tokens:,} tokens). "
            "/clear starts anew."
        )
    if reason == "length":
        return "The answer was cut: it may not be longer."
    if reason == "repetition":
        return "Stopped: it repeated itself."
    if reason == "calls":
        return "Stopped: it called tools without end."
    return None if answered else "(no answer)"


class ContextNotice:
    """Says that the context fills up, once for each further twentieth."""

    def __init__(self) -> None:
        self._said = 0

    def after(self, usage: Usage, *, context_tokens: int) -> str | None:
        """Say how full the context is, if it is time to."""
        used = usage.context_tokens
        level = used * TWENTIETHS // context_tokens
        if used * TWENTIETHS <= FIRST_NOTICE * context_tokens:
            level = 0
        grown = level > self._said
        # Less than before, but not much: the reasoning of the turn before was dropped.
        self._said = max(level, self._said) if level else 0
        if not grown or used >= context_tokens:
            return None
        return (
            f"Context: {used:,} of {context_tokens:,} tokens are used; /clear starts anew."
        )
