"""Finds the quotations in an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gptoss_mlx.grounding.words import CJK, MIN_CJK, MIN_WORDS, count_words

__all__ = [
    "HIDDEN",
    "SINGLE",
    "Quotation",
    "find_quotations",
    "is_quotation",
    "without_marks",
]

HIDDEN = "\ue002"
"""What stands in place of each character of a marker."""

_CLOSED_BY = {
    "“": "”",
    "„": '“”"',
    "‟": "”",
    '"': '"',
    "＂": "＂",
    "«": "»",
    "»": "«»",
    "”": "”",
    "‹": "›",
    "›": "‹",
    "‘": "’",
    "‚": "‘’",
    "'": "'",
    "「": "」",
    "『": "』",
    "｢": "｣",
    "〝": "〟",
}
_NUMBER = re.compile(r"\W*\d[\d\W]*")
SINGLE = "‘‚'"
"""Marks that are apostrophes where no other closes them."""

_PARAGRAPH_END = re.compile(r"\n[ \t]*\n")
_CODE = re.compile(r"(`+)(?!`)([^\n]+?)(?<!`)\1(?!`)")
_PROSE = re.compile(r"[^(){}<>=_/\\\[\];$]+")
_Q = re.compile(r"<q\b[^>\n]{0,80}>(.*?)</q>", re.IGNORECASE | re.DOTALL)
_BLOCK_QUOTE = re.compile(r"^(?: {0,3}>.*(?:\n|\Z))+", re.MULTILINE)
_BLOCK_MARK = re.compile(r"^ {0,3}>[ \t]?", re.MULTILINE)
_BY = re.compile(r"\n[\s" + HIDDEN + r"]*>?[ \t]*(?:[—–―~]|--).{0,80}\s*\Z")

MIN_CODE = 4
"""Words from which a code span without signs of code is a quotation."""


@dataclass(frozen=True, slots=True)
class Quotation:
    """A quotation in a text.

    Attributes:
        start: Index of its first mark.
        end: Index after its last one.
        begin: Index of its first word.
        stop: Index after its last one.
        is_closed: Whether the text has its end.
        is_block: Whether it is a block quote.
    """

    start: int
    end: int
    begin: int
    stop: int
    is_closed: bool = True
    is_block: bool = False


def find_quotations(text: str) -> list[Quotation]:
    """Return the quotations of a text in their order, also one that has no end yet.

    Args:
        text: The text, in which ``HIDDEN`` stands in place of markers.
    """
    blocks = []
    for found in _BLOCK_QUOTE.finditer(text):
        by = _BY.search(text, found.start(), found.end())
        stop = found.end() if by is None else by.start()
        ended = found.end() < len(text)
        blocks.append(Quotation(*found.span(), found.start(), stop, ended, is_block=True))
    quotations = []
    i = 0
    while i < len(text):
        block = next((block for block in blocks if block.start <= i < block.end), None)
        found_here = block or _code(text, i) or _element(text, i) or _marked(text, i)
        if isinstance(found_here, Quotation):
            quotations.append(found_here)
            i = max(found_here.end if found_here.is_closed else i + 1, i + 1)
            if block is not None:
                i = block.end
        else:
            i = found_here or i + 1
    return quotations


def is_quotation(text: str) -> bool:
    """Whether words in quotation marks are checked: single words are often no quotation.

    A number is checked.
    """
    cjk = len(re.findall(f"[{CJK}]", text))
    if _NUMBER.fullmatch(text):
        return True
    return cjk >= MIN_CJK or (not cjk and count_words(text) >= MIN_WORDS)


def without_marks(text: str) -> str:
    """Return the words of a part of a quotation."""
    return _BLOCK_MARK.sub("", text.replace(HIDDEN, ""))


def _code(text: str, i: int) -> Quotation | int | None:
    """Return a code span that is a quotation, or the index after another."""
    found = _CODE.match(text, i) if text[i] == "`" else None
    if found is None:
        return None
    if count_words(found[2]) >= MIN_CODE and _PROSE.fullmatch(found[2]):
        return Quotation(*found.span(), *found.span(2))
    return found.end()


def _element(text: str, i: int) -> Quotation | None:
    found = _Q.match(text, i) if text[i] == "<" else None
    return None if found is None else Quotation(*found.span(), *found.span(1))


def _marked(text: str, i: int) -> Quotation | None:
    opening = text[i]
    closing = _CLOSED_BY.get(opening)
    if closing is None or not _opens(text, i):
        return None
    paragraph = _PARAGRAPH_END.search(text, i)
    stop = len(text) if paragraph is None else paragraph.start()
    end = _end_of(text, i, stop, opening, closing)
    if end is not None:
        return Quotation(i, end + 1, i + 1, end)
    return Quotation(i, stop, i + 1, stop, is_closed=False)


def _opens(text: str, i: int) -> bool:
    before, after = text[i - 1 : i], text[i + 1 : i + 2]
    if after.isspace():
        return False
    if text[i] == '"':
        return not ("0" <= before <= "9")  # an inch
    if text[i] == "'":
        return (not before or not _is_letter(before)) and not after.isdigit()
    return True


def _closes(text: str, i: int, j: int) -> bool:
    """Whether a mark ends the quotation that begins at i, and is no apostrophe."""
    if text[j] not in "'’‘" or text[i] not in SINGLE:
        return True
    return not text[j - 1].isspace() and not _is_letter(text[j + 1 : j + 2])


def _is_letter(character: str) -> bool:
    return character.isalnum() and re.match(f"[{CJK}]", character) is None


def _end_of(text: str, i: int, stop: int, opening: str, closing: str) -> int | None:
    """Return the end of a quotation that may have others in it; the first if unclear."""
    first, depth = None, 1
    for j in range(i + 1, stop):
        if text[j] in closing and _closes(text, i, j):
            first = j if first is None else first
            depth -= 1
            if not depth or opening in closing:
                return j if not depth else first
        elif text[j] == opening:
            depth += 1
    return first
