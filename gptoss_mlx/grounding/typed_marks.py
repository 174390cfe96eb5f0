"""Shows what a model typed unlike the marks of checked citations."""

from __future__ import annotations

import re

__all__ = ["is_in_code", "is_in_fence", "possible_mark", "shown_typed"]

MAX_CODE = 200
"""Characters in which the end of a code span is waited for."""

_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_CODE = re.compile(r"(`+)(?!`)[^\n]+?(?<!`)\1(?!`)")
_NUMBERS = r"\s?\d{1,4}(?:\s?[,;–-]\s?\d{1,4}){0,9}\s?[?？]?\s?"
_TYPED = re.compile(rf"\\?[\[［]({_NUMBERS})\\?[\]］](?!\()")
_POSSIBLE = re.compile(r"\\?[\[［][\d\s,;–?？-]{0,60}\\?[\]］]?\Z|\\\Z")
_HEADING = re.compile(
    r"^[ \t>#*_-]*(?:sources|passages found)[*_ \t]*(?=[:：])", re.MULTILINE | re.IGNORECASE
)


def shown_typed(text: str, start: int, end: int) -> str:
    """Return part of a text as it is shown.

    ``[1]`` and ``[2?]`` come as ``(1)`` and ``(2?)``, except in code and links, and a
    heading "Sources:" says whose it is.

    Args:
        text: All of the text so far.
        start: Where the part begins.
        end: Where it ends.
    """
    shown, done = "", start
    changes = [
        (*found.span(), f"({found[1].strip()})") for found in _TYPED.finditer(text, start)
    ]
    for found in _HEADING.finditer(text):
        if start <= found.end() < end:
            changes.append((found.end(), found.end(), " (the model's)"))
    for first, after, words in sorted(changes):
        if after > end:
            break
        if not is_in_code(text, first):
            shown += text[done:first] + words
            done = after
    return shown + text[done:end]


def possible_mark(text: str, start: int) -> int:
    """Return the index from which a text may go on as a typed mark, or its length."""
    found = _POSSIBLE.search(text, start)
    end = len(text) if found is None else found.start()
    typed = _TYPED.search(text, start)
    if typed is not None and len(text) - typed.start() < MAX_CODE:
        line = text[text.rfind("\n", 0, typed.start()) + 1 :]
        # The last backtick may be the first of several.
        is_open = "`" in _CODE.sub("", line) or line.endswith("`")
        if "\n" not in line and is_open and not is_in_fence(text, typed.start()):
            end = min(end, typed.start())
    return end


def is_in_fence(text: str, index: int) -> bool:
    """Whether an index of a text is in a block of code."""
    return len(_FENCE.findall(text, 0, index)) % 2 == 1


def is_in_code(text: str, index: int) -> bool:
    """Whether an index of a text is in a block of code or a code span."""
    if is_in_fence(text, index):
        return True
    begin = text.rfind("\n", 0, index) + 1
    return any(
        span.start() < index < span.end()
        for span in _CODE.finditer(text, begin)
        if span.start() < index
    )
