"""Finds the markers by which a model cites lines, as in ``【3†L9-L11】``.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/simple_browser/simple_browser_tool.py
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

__all__ = ["Marker", "find_marker", "possible_marker"]

_MARKER = re.compile(
    r"""
    (?P<open>[【［\[]) \s{0,2}
    (?P<cursor>\d{1,6}) (?: :\d{1,6} )? \s{0,2}
    (?: [†‡] (?P<where>[^†‡【】［］\[\]\n]{0,80}) (?: [†‡] [^【】［］\[\]\n]{0,80} )? )?
    [】］\]]
    """,
    re.VERBOSE,
)

_POSSIBLE = re.compile(
    r"""
    [【［\[] \s{0,2}
    (?: \d{1,6} (?: :\d{0,6} )? \s{0,2}
        (?: [†‡] [^†‡【】［］\[\]\n]{0,80} (?: [†‡] [^【】［］\[\]\n]{0,80} )? )? )?
    $
    """,
    re.VERBOSE,
)

_RANGE = re.compile(
    r"(?:[Ll]|[Ll]ines?)?\s?(\d{1,9})(?:\s?[-‐‑‒–—−~〜]\s?[Ll]?\s?(\d{1,9}))?"
)


@dataclass(frozen=True, slots=True)
class Marker:
    """A citation as a model writes it.

    Attributes:
        start: Index in the text of its first character.
        end: Index after its last one.
        cursor: The number of a page.
        ranges: The first and the last display line of each range; empty if none is named.
        is_certain: Whether it is nothing else; ``【3】`` may also number a heading.
    """

    start: int
    end: int
    cursor: int
    ranges: tuple[tuple[int, int], ...]
    is_certain: bool


def find_marker(text: str, start: int = 0) -> Marker | None:
    """Return the first marker of a text from an index on, or None."""
    for found in _MARKER.finditer(text, start):
        where = found["where"]
        if where is None and found["open"] != "【":
            continue
        return Marker(
            found.start(),
            found.end(),
            int(found["cursor"]),
            _ranges(where or ""),
            where is not None,
        )
    return None


def possible_marker(text: str, start: int = 0) -> int:
    """Return the index from which a text may begin a marker, or its length."""
    found = _POSSIBLE.search(text, start)
    return len(text) if found is None else found.start()


def _ranges(where: str) -> tuple[tuple[int, int], ...]:
    """Read ``L9``, ``L9-L11``, ``9-11`` or ``L9-11, L14``."""
    ranges = []
    for part in re.split("[,;、]", unicodedata.normalize("NFKC", where)):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            continue
        first, last = int(found[1]), int(found[2] or found[1])
        ranges.append((min(first, last), max(first, last)))
    return tuple(ranges)
