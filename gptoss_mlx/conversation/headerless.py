"""Text without a header in a model's output: reasoning or answer.

It is reasoning if a message with a header follows, and the answer otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gptoss_mlx.harmony.parse import Delta, ParsedMessage
from gptoss_mlx.tokenizer import END, MESSAGE

__all__ = ["HeaderlessText", "has_header", "is_headerless"]


def has_header(messages: Sequence[ParsedMessage]) -> bool:
    """Whether one of the assistant's messages has a header."""
    return any(
        parsed.message.role == "assistant" and MESSAGE in parsed.tokens
        for parsed in messages
    )


def is_headerless(parsed: ParsedMessage) -> bool:
    """Whether a message is only text, ended by ``<|end|>``."""
    message = parsed.message
    return (
        parsed.end == END
        and MESSAGE not in parsed.tokens
        and message.channel is None
        and message.recipient is None
    )


class HeaderlessText:
    """Holds back pieces of a turn until their kind is known."""

    def __init__(self) -> None:
        self._held: list[tuple[Delta, bool]] = []  # and whether it has no header

    def push(self, deltas: list[Delta], messages: Sequence[ParsedMessage]) -> list[Delta]:
        """Take a token's pieces; return those whose kind is known.

        Args:
            deltas: The assistant's new pieces.
            messages: The complete messages, including one that has just ended.
        """
        headerless = bool(messages) and is_headerless(messages[-1])
        new = [(d, headerless and d.index == len(messages) - 1) for d in deltas]
        if not self._held and not any(lacks for _, lacks in new):
            return deltas
        # A message that is still incomplete already has its header.
        headed = any(d.index == len(messages) for d in deltas) or has_header(messages[-1:])
        self._held += new
        if not headed:
            return []
        held, self._held = self._held, []
        return [replace(d, channel="analysis") if lacks else d for d, lacks in held]

    def finish(self) -> list[Delta]:
        """Return the remaining pieces: no header follows."""
        held, self._held = self._held, []
        return [delta for delta, _ in held]
