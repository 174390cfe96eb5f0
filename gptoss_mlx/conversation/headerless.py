"""Text that the model writes without a header: reasoning or the answer?

It is reasoning if a message with a header follows, and else the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gptoss_mlx.harmony.parse import Delta, ParsedMessage
from gptoss_mlx.tokenizer import END, MESSAGE

__all__ = ["HeaderlessText", "has_header", "is_headerless"]


def has_header(messages: Sequence[ParsedMessage]) -> bool:
    """Tell whether one of the assistant's messages has a header."""
    return any(
        parsed.message.role == "assistant" and MESSAGE in parsed.tokens
        for parsed in messages
    )


def is_headerless(parsed: ParsedMessage) -> bool:
    """Tell whether a message is text alone, ended by ``<|end|>``."""
    message = parsed.message
    return (
        parsed.end == END
        and MESSAGE not in parsed.tokens
        and message.channel is None
        and message.recipient is None
    )


class HeaderlessText:
    """Holds back pieces of a turn until it is known what they are."""

    def __init__(self) -> None:
        self._held: list[tuple[Delta, bool]] = []  # and whether it has no header

    def push(self, deltas: list[Delta], messages: Sequence[ParsedMessage]) -> list[Delta]:
        """Take what a token has added; return what is known of it.

        Args:
            deltas: The assistant's new pieces.
            messages: Those that are whole, one that has just ended included.
        """
        headerless = bool(messages) and is_headerless(messages[-1])
        new = [(d, headerless and d.index == len(messages) - 1) for d in deltas]
        if not self._held and not any(lacks for _, lacks in new):
            return deltas
        # A piece of a message that is not whole yet has its header behind it.
        headed = any(d.index == len(messages) for d in deltas) or has_header(messages[-1:])
        self._held += new
        if not headed:
            return []
        held, self._held = self._held, []
        return [replace(d, channel="analysis") if lacks else d for d, lacks in held]

    def finish(self) -> list[Delta]:
        """Return what is left: no header follows."""
        held, self._held = self._held, []
        return [delta for delta, _ in held]
