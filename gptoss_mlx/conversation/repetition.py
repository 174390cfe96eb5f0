"""Detects that a model repeats the same text."""

from __future__ import annotations

import numpy as np

__all__ = ["RepetitionDetector"]

MAX_PERIOD = 256
"""Tokens of the longest text whose repetition is detected."""

MIN_TOKENS = 1024
"""Tokens that must repeat: tables and rulers repeat too, for a good reason."""

MIN_TIMES = 6


class RepetitionDetector:
    """Takes tokens, and detects that they repeat.

    They repeat if the last ones are the same text of at most MAX_PERIOD tokens again and
    again: at least MIN_TIMES, and at least MIN_TOKENS in all.
    """

    def __init__(self) -> None:
        self._last = np.full(MAX_PERIOD, -1)  # newest first
        # For each period: how many of the last tokens equal the token one period before.
        self._equal = np.zeros(MAX_PERIOD, np.int64)
        periods = np.arange(1, MAX_PERIOD + 1)
        self._enough = np.maximum(MIN_TOKENS, MIN_TIMES * periods) - periods

    def push(self, token: int) -> bool:
        """Take the next token; return whether the text up to it repeats."""
        self._equal += 1
        self._equal *= self._last == token
        self._last[1:] = self._last[:-1].copy()
        self._last[0] = token
        return bool((self._equal >= self._enough).any())
