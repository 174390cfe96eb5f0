"""When to end an answer: at a token, at a text, or at a length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

from gptoss_mlx.files import short
from gptoss_mlx.tokenizer import STOP_TOKENS, StreamDecoder, load_tokenizer

__all__ = ["FinishReason", "StopDetector", "StopStrings", "Stops", "check_max_tokens"]

FinishReason = Literal["stop", "length", "context"]
"""A stop token or text, ``max_tokens`` reached, or a full context."""


@dataclass(frozen=True, slots=True)
class Stops:
    """The conditions that end an answer.

    Attributes:
        tokens: The first of these is the last token.
        strings: The token that completes one of these is the last. A special token between
            two pieces of text separates them.
        max_tokens: The most tokens. None: no limit.
    """

    tokens: frozenset[int] = STOP_TOKENS
    strings: tuple[str, ...] = ()
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: ``max_tokens`` is under 1, or a text is empty.
        """
        check_max_tokens(self.max_tokens, "Stops")
        if "" in self.strings:
            raise ValueError("[Stops] strings must not be empty but one is.")


def check_max_tokens(max_tokens: int | None, where: str) -> None:
    """Refuse what is not a number of tokens.

    Raises:
        ValueError: It is under 1, or not an integer.
    """
    if max_tokens is None:
        return
    whole = isinstance(max_tokens, Integral) and not isinstance(max_tokens, bool)
    if not (whole and max_tokens >= 1):
        raise ValueError(
            f"[{where}] max_tokens must be an integer of 1 or more "
            f"but got {short(max_tokens)}."
        )


class StopDetector:
    """Detects the last token of an answer.

    Args:
        stops: The conditions that end the answer.
        room_tokens: How many tokens the context has room for. None: no limit.
    """

    def __init__(self, stops: Stops, room_tokens: int | None = None) -> None:
        self._tokens = stops.tokens
        self._strings = StopStrings(stops.strings) if stops.strings else None
        self._decoder: StreamDecoder | None = None
        self.limit = room_tokens
        self._at_limit: FinishReason = "context"
        if stops.max_tokens is not None and (
            room_tokens is None or stops.max_tokens <= room_tokens
        ):
            self.limit, self._at_limit = stops.max_tokens, "length"

    def push(self, token: int, count: int) -> FinishReason | None:
        """Take the next token; return why it is the last, or None.

        Args:
            token: Its id.
            count: The number of tokens so far, this one included.
        """
        if token in self._tokens or self._completes_string(token):
            return "stop"
        return self._at_limit if count == self.limit else None

    def _completes_string(self, token: int) -> bool:
        if self._strings is None:
            return False
        tokenizer = load_tokenizer()
        if tokenizer.is_special(token):
            self._decoder = None
            self._strings.flush()
            return False
        self._decoder = self._decoder or StreamDecoder(tokenizer)
        self._strings.push(self._decoder.push(token))
        return self._strings.found is not None


class StopStrings:
    """Finds the first of some texts in a stream of text.

    Attributes:
        found: The text that was found, or None.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        """Look for ``texts``.

        Raises:
            ValueError: One is empty.
        """
        if "" in texts:
            raise ValueError("[StopStrings] a text to stop at must not be empty.")
        self._texts = tuple(texts)
        self._held = ""
        self.found: str | None = None

    def push(self, text: str) -> str:
        """Take the next text.

        Returns:
            The text that can be shown: without any part of a stop text, or of one that may
            still be completed.
        """
        if self.found is not None:
            return ""
        self._held += text
        places = [
            (place, -len(stop), stop)
            for stop in self._texts
            if (place := self._held.find(stop)) >= 0
        ]
        if places:
            place, _, self.found = min(places)
            shown, self._held = self._held[:place], ""
            return shown
        longest = max(
            (
                n
                for stop in self._texts
                for n in range(1, min(len(stop), len(self._held) + 1))
                if self._held.endswith(stop[:n])
            ),
            default=0,
        )
        end = len(self._held) - longest
        shown, self._held = self._held[:end], self._held[end:]
        return shown

    def flush(self) -> str:
        """Return the held-back text at the end of the stream, and reset."""
        shown, self._held = self._held, ""
        return shown
