"""Lists what an answer stands on, line by line, for a reader."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gptoss_mlx.controls import escaped
from gptoss_mlx.grounding.citations import Citation
from gptoss_mlx.library.index import Hit

__all__ = ["source_lines"]

MAX_QUOTE = 160
MAX_PASSAGES = 5
LINES_BEFORE = 1
PASSAGE_LINES = 4
WORDS_BEFORE = 20
"""Characters that are shown before what is quoted of a long text."""

FIRST_WORDS = 4


def source_lines(citations: Sequence[Citation], passages: Sequence[Hit]) -> list[str]:
    """Return the sources of an answer; without a verified one, also the passages found.

    Each line is safe to print.

    Args:
        citations: What the answer cites.
        passages: What was found, the best first.
    """
    lines = ["Sources:", *map(_source, citations)] if citations else []
    if any(citation.verified for citation in citations):
        return lines
    if passages:
        lines += [*([""] if lines else []), "Passages found:"]
        for hit in passages[:MAX_PASSAGES]:
            lines += _passage(hit)
    return lines


def _source(citation: Citation) -> str:
    place = _place(
        citation.document, citation.first_line, citation.last_line, citation.page
    )
    text = f"{citation.mark} {place}".rstrip()
    if citation.quote:
        text += f"  “{_short(citation.quote, citation.quoted)}”"
    if citation.problem is not None:
        text += f"  unverified: {citation.problem}"
    return escaped(text)


def _place(
    document: str | None, first: int | None, last: int | None, page: int | None
) -> str:
    if document is None or first is None or last is None:
        return document or ""
    lines = f"{first}" if first == last else f"{first}-{last}"
    return f"{document}:{lines}" + (f" (page {page})" if page else "")


def _passage(hit: Hit) -> list[str]:
    """Return a passage's place, and the lines around its best one."""
    lines = hit.text.split("\n")
    begin = max(hit.best_line - hit.first_line - LINES_BEFORE, 0)
    shown = lines[begin : begin + PASSAGE_LINES]
    place = _place(hit.name, hit.best_line + 1, hit.best_line + 1, hit.page)
    under = " › ".join(hit.headings)
    return [
        escaped(f"{place}  {under}".rstrip()),
        *(f"    {escaped(_short(line))}" for line in shown if line.strip()),
    ]


def _short(text: str, quoted: str = "") -> str:
    """Return a text on one line, cut to its beginning, or to where it is quoted."""
    text = " ".join(text.split())
    begin = _place_of(quoted, text)
    if begin + len(quoted) > MAX_QUOTE - 1:
        begin = text.find(" ", max(begin - WORDS_BEFORE, 0), begin) + 1 or begin
        text = f"…{text[begin:].lstrip()}"
    return text if len(text) <= MAX_QUOTE else f"{text[: MAX_QUOTE - 1].rstrip()}…"


def _place_of(quoted: str, text: str) -> int:
    """Return the index at which a text is quoted; 0 if it is set otherwise there."""
    words = re.findall(r"\w+", quoted)[:FIRST_WORDS]
    found = re.search(r"\W+".join(words), text, re.IGNORECASE) if words else None
    return 0 if found is None else found.start()
