"""Notices when a model says the same thing over and over."""

from __future__ import annotations

import numpy as np

__all__ = ["RepetitionDetector"]

MAX_PERIOD = 256
"""Tokens of the longest text whose repetition is noticed."""

MIN_TOKENS = 1024
"""So much must repeat: tables and rulers do too, and are meant."""

MIN_TIMES = 6


class RepetitionDetector:
    """Hears tokens, and tells when they have begun to go round in a circle.

    That is when the last ones are one text of up to MAX_PERIOD tokens again and again: at
    least MIN_TIMES, and at least MIN_TOKENS in all.
    """

    def __init__(self) -> None:
        self._last = np.full(MAX_PERIOD, -1)  # newest first
        # For each period: how many of the last tokens equal the one so far before.
        self._equal = np.zeros(MAX_PERIOD, np.int64)
        periods = np.arange(1, MAX_PERIOD + 1)
        self._enough = np.maximum(MIN_TOKENS, MIN_TIMES * periods) - periods

    def push(self, token: int) -> bool:
        """Take the next token; tell whether what ends with it repeats."""
        self._equal += 1
        self._equal *= self._last == token
        self._last[1:] = self._last[:-1].copy()
        self._last[0] = token
        return bool((self._equal >= self._enough).any())
