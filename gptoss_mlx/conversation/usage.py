"""What a turn takes: tokens and seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass

__all__ = ["Clock", "Usage"]


@dataclass(slots=True)
class Usage:
    """What a turn took.

    Attributes:
        prompt_tokens: Those of the first prompt.
        cached_tokens: How many of these were not read again.
        generated_tokens: All that the model wrote, structure included.
        reasoning_tokens: How many of these were ``analysis``.
        context_tokens: Prompt and answer at the end of the turn.
        calls: Those that were looked at: not one too many, nor the same again.
        prefill_s: Seconds until the first token, in every step of the turn.
        decode_s: Seconds for the later tokens, without the tools' own.
        later_tokens: Those that came in ``decode_s``.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    reasoning_tokens: int = 0
    context_tokens: int = 0
    calls: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    later_tokens: int = 0

    @property
    def prefill_tokens_per_s(self) -> float:
        """How quickly what was new in the first prompt was read; 0 if nothing was."""
        new = self.prompt_tokens - self.cached_tokens
        return new / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def tokens_per_s(self) -> float:
        """How quickly tokens come, once the prompt is read; 0 if none did."""
        return self.later_tokens / self.decode_s if self.decode_s > 0 else 0.0


class Clock:
    """Times the tokens of one step of a turn.

    Attributes:
        tokens: How many have come.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self._begun = self._first = self._last = time.perf_counter()

    def tick(self) -> None:
        """Note that a token has come."""
        self._last = time.perf_counter()
        if not self.tokens:
            self._first = self._last
        self.tokens += 1

    def stop(self, usage: Usage) -> None:
        """Add what was timed to ``usage``."""
        usage.generated_tokens += self.tokens
        usage.later_tokens += max(self.tokens - 1, 0)
        usage.prefill_s += self._first - self._begun
        usage.decode_s += self._last - self._first
