"""The lines around a passage's best one, as a search result shows them."""

from __future__ import annotations

from collections.abc import Sequence

from gptoss_mlx.tools.browser.page import plain_line

__all__ = ["summary"]

MAX_WIDTH = 320
"""Columns of a summary, so that ten results fit a view."""

_WIDE = "\u2e80"
_WIDTH_OF_WIDE = 4
"""Columns of a character of Chinese or Japanese, which takes as many tokens as four
letters."""


def summary(lines: Sequence[str], best: int) -> tuple[str, int, int]:
    """Join the lines around the best one, as many as fit.

    Args:
        lines: The passage's lines.
        best: Index of the line that fits the query best.

    Returns:
        The text, and the indexes of the first and the last line in it.
    """
    texts = [" ".join(plain_line(line).split()) for line in lines]
    first = last = best
    left = MAX_WIDTH - _width(texts[best])
    if left < 0:
        return _cut(texts[best]), best, best
    # Below first: what follows a heading or a question is what answers it.
    below = above = True
    while below or above:
        below = below and last + 1 < len(texts) and _width(texts[last + 1]) < left
        if below:
            last += 1
            left -= _width(texts[last]) + 1
        above = above and first > 0 and _width(texts[first - 1]) < left
        if above:
            first -= 1
            left -= _width(texts[first]) + 1
    while not texts[first] and first < best:
        first += 1
    while not texts[last] and last > best:
        last -= 1
    return " ".join(text for text in texts[first : last + 1] if text), first, last


def _width(text: str) -> int:
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    return _WIDTH_OF_WIDE if character >= _WIDE else 1


def _cut(text: str) -> str:
    width = 0
    for count, character in enumerate(text):
        width += _columns(character)
        if width > MAX_WIDTH:
            return f"{text[:count].rstrip()}…"
    return text
