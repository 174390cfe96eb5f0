"""How sure a share is."""

from __future__ import annotations

import math

__all__ = ["interval"]


def interval(right: int, total: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval of a share.

    Source: https://en.wikipedia.org/wiki/Binomial_proportion_confidence_interval
    """
    z, share = 1.96, right / total
    middle = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    low, high = ((middle + sign * half) / (1 + z * z / total) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)
