"""Which quotations of an answer a citation is to be checked against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_mlx.grounding.quotations import (
    HIDDEN,
    SINGLE,
    Quotation,
    find_quotations,
    is_quotation,
    without_marks,
)
from gptoss_mlx.grounding.words import count_words

__all__ = ["Scope", "scope_of"]

MAX_HELD = 600
"""Characters after a citation in which its sentence's end is waited for."""

MIN_OWN = 4
"""Words of a sentence from which the one before it is another statement."""

# A full stop after a short word or a number is often none: z. B., Dr., 5. Mai.
_SENTENCE_END = re.compile(
    rf"(?<=[^\W\d_]{{4}})\.\s|(?<=[)\]】］{HIDDEN}])\.\s|[!?]\s|[。！？\n]"
)
_STOPS = ".!?。！？…"
_COLON = re.compile(rf"[\s*_{HIDDEN}]*[:：][\s*_]*")
_BESIDE = re.compile(r"[\s.,;、。)*_]*")
# The line that says whose words are quoted: — Lease of 12 March, (Lease, page 3).
_ATTRIBUTION = re.compile(r"\s*(?:[—–―~(]|--)")


@dataclass(frozen=True, slots=True)
class Scope:
    """The quotations that markers in a row are checked against.

    Attributes:
        quotations: Their words.
        end: Index after the last of them that follows the markers; those before it belong
            to no other marker.
    """

    quotations: tuple[str, ...]
    end: int


def scope_of(
    text: str,
    begin: int,
    row: tuple[int, int],
    following: int | None,
    *,
    finished: bool,
) -> Scope | None:
    """Return what belongs to markers in a row; None if the text does not show it yet.

    These are the quotations of their sentence: those before the markers, back to the
    markers before, and those after them, if no other marker follows in the sentence. A
    sentence or line of few words, and a line that names a source, belong to the one before
    it. So does what directly follows a block quote. A colon at a line's end goes on.

    Args:
        text: The answer so far, in which ``HIDDEN`` stands in place of markers.
        begin: Index from which quotations belong to these markers.
        row: Where the markers begin and end.
        following: Where the next marker begins; None if there is none.
        finished: Whether the text is whole.
    """
    start, row_end = row
    found = find_quotations(text)
    is_known = finished or len(text) - row_end >= MAX_HELD
    if not is_known and _goes_on(text, found, 0, row_end):
        return None
    end = _end(text, found, row_end, is_known=is_known)
    if end is None and following is None:
        return None
    if following is not None and (end is None or following < end):
        end = _introduced(text, found, row_end, following)
    last = row_end if end is None else end
    found = [q for q in found if q.is_closed or text[q.start] not in SINGLE]
    first = _begin(text, found, begin, start)
    pieces = []
    for quotation in found:
        is_open = not quotation.is_closed and not quotation.is_block
        if is_open and quotation.stop <= start:
            continue
        stop = min(quotation.stop, last)
        if quotation.stop > first and quotation.begin < last:
            pieces.append(text[max(quotation.begin, begin) : stop])
    words = [without_marks(piece) for piece in pieces]
    return Scope(tuple(filter(is_quotation, words)), max(row_end, last))


def _end(
    text: str, found: Sequence[Quotation], row_end: int, *, is_known: bool
) -> int | None:
    """Return the end of the sentence that goes on after markers, if it is known."""
    start = row_end
    around = next((q for q in found if q.start < row_end < q.end and not q.is_block), None)
    if around is not None and around.is_closed:
        start = around.end
    outside = _outside(text, found)
    if text[start : start + 1] in tuple(_STOPS):
        end: int | None = start + 1
    else:
        end = _sentence_end(text, outside, found, start)
    if end is not None and not is_known and _goes_on(text, found, start, end):
        return None
    return len(text) if end is None and is_known else end


def _sentence_end(
    text: str, outside: str, found: Sequence[Quotation], start: int
) -> int | None:
    ended = _SENTENCE_END.search(outside, start)
    if ended is None:
        return None
    if ended[0] != "\n" or not text[start : ended.start()].rstrip(" *_").endswith(
        (":", "：")
    ):
        return ended.end()
    line = ended.end() + len(text[ended.end() :]) - len(text[ended.end() :].lstrip())
    block = next((q for q in found if q.is_block and q.start <= line < q.end), None)
    if block is not None:
        return block.end if block.is_closed else None
    ended = _SENTENCE_END.search(outside, line)
    return None if ended is None else ended.end()


def _goes_on(text: str, found: Sequence[Quotation], start: int, end: int) -> bool:
    """Whether a quotation that begins before an end may go on after it."""
    size = len(text)
    begun = [q for q in found if start <= q.start < end and not q.is_block]
    return any(
        (q.stop == size and not q.is_closed) or (q.end == size and text[q.start] in SINGLE)
        for q in begun
    )


def _introduced(
    text: str, found: Sequence[Quotation], row_end: int, following: int
) -> int | None:
    """Return the end of a quotation between markers that belongs to the first of them."""
    colon = _COLON.match(text, row_end)
    for quotation in found:
        if quotation.start < row_end or quotation.end > following:
            continue
        beside = _BESIDE.match(text, quotation.end)
        is_cited = beside is not None and beside.end() >= following
        is_first = colon is not None and quotation.start <= colon.end()
        return quotation.end if is_first and not is_cited else None
    return None


def _begin(text: str, found: Sequence[Quotation], begin: int, start: int) -> int:
    """Return where the sentence of markers begins, with short ones before it."""
    outside = _outside(text, found)
    limit = begin + len(outside[begin:start].rstrip(_STOPS + " "))
    own = "".join(" " if text[i] != outside[i] else text[i] for i in range(begin, start))
    begins = [begin, *(end.end() for end in _SENTENCE_END.finditer(outside, begin, limit))]
    for first in reversed(begins):
        if any(q.end > first and q.start < start for q in found):
            break
        if _ATTRIBUTION.match(text, first):
            continue
        if count_words(own[first - begin :].replace(HIDDEN, " ")) >= MIN_OWN:
            break
    for quotation in found:
        between = text[quotation.end : start]
        is_before = quotation.is_block and begin <= quotation.start < first
        if is_before and "\n\n" not in between.lstrip("\n"):
            first = quotation.start
    return first


def _outside(text: str, found: Sequence[Quotation]) -> str:
    """Blank quotations out. One that ends a sentence ends it outside too."""
    masked = list(text)
    for q in found:
        if not q.is_closed or (q.is_block and not text[q.start : q.end].strip()):
            continue
        length = q.end - q.start
        masked[q.start : q.end] = "x" * length
        if q.is_block and text[q.end - 1] == "\n":
            masked[q.end - 1] = "\n"
        elif (
            text[q.stop - 1 : q.stop] in tuple(_STOPS)
            and text[q.end :].lstrip()[:1].isupper()
        ):
            masked[q.end - 1] = "."
    return "".join(masked)
