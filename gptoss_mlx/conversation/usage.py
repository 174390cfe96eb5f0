"""Tokens and seconds of a turn."""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["Clock", "Usage"]


@dataclass(slots=True)
class Usage:
    """Tokens and seconds of a turn.

    Attributes:
        prompt_tokens: Tokens of the first prompt.
        cached_tokens: How many of these were in the cache.
        generated_tokens: All tokens that the model wrote, structure included.
        reasoning_tokens: How many of these were ``analysis``.
        context_tokens: Prompt and answer at the end of the turn.
        calls: Tool calls that were answered.
        prefill_s: Seconds until the first token, summed over the steps of the turn.
        decode_s: Seconds for the later tokens, without the tools' time.
        decode_tokens: How many tokens were generated in ``decode_s``.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    reasoning_tokens: int = 0
    context_tokens: int = 0
    calls: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    decode_tokens: int = 0

    @property
    def prefill_tokens_per_s(self) -> float:
        """Tokens per second of the uncached part of the first prompt; 0 if it is empty."""
        new = self.prompt_tokens - self.cached_tokens
        return new / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Tokens per second after the first token; 0 if there are none."""
        return self.decode_tokens / self.decode_s if self.decode_s > 0 else 0.0


class Clock:
    """Times the tokens of one step of a turn.

    Attributes:
        tokens: The tokens generated so far.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._begun = self._first = self._last = time.perf_counter()

    def tick(self) -> None:
        """Count one token."""
        self._last = time.perf_counter()
        if not self.tokens:
            self._first = self._last
        self.tokens += 1

    def stop(self, usage: Usage) -> None:
        """Add the counts and times to ``usage``."""
        usage.generated_tokens += self.tokens
        usage.decode_tokens += max(self.tokens - 1, 0)
        usage.prefill_s += self._first - self._begun
        usage.decode_s += self._last - self._first
