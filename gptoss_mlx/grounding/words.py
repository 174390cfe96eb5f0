"""Compares texts word by word, however they are set."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence

__all__ = ["CJK", "count_words", "has_words", "words_of"]

CJK = "\u3005\u3041-\u30ff\u3400-\u9fff\uac00-\ud7af"

MIN_WORDS = 2
MIN_CJK = 4
MAX_LEFT_OUT = 40
"""Words that an ellipsis may stand for."""

_NEGATION = re.compile(
    r"not?|cannot|never|none|neither|nor|without|\w+n't|nicht|keine?[mnrs]?|nie|niemals|ohne"
    r"|pas|jamais|sans|non|[不没沒無无未非]"
)
"""Words that an ellipsis may not stand for."""

_LEFT_OUT = re.compile(r"\[\s?(?:…|\.\s?\.\s?\.)\s?\]|…|\.\s?\.\s?\.")
_LETTER_IN_BRACKETS = re.compile(r"\[(\w)\](?=\w)")
# The mark of a word that a line's end cut: its hyphen may belong to it or not.
_CUT = "\ue000"
_AT_LINE_END = re.compile(r"(?<=[^\W\d_])[-\u2010]\n\s*(?=[^\W\d_])")
_SOFT_HYPHEN = re.compile(r"\xad(?:\n\s*)?")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?!\d)")
_SPACE = "\ue001"
_RULE = re.compile(r":?-{3,}:?|={3,}")
_ROW = "¦"
_ROW_END = re.compile(r"\|[ \t]*\n[ \t]*\|")
_LINE_MARK = re.compile(r"^[ \t]*(?:>[ \t]?|#{1,6}[ \t]+|[-*+•][ \t]+)+", re.MULTILINE)
_LONG_DASH = re.compile("[\u2014\u2015]|(?<!-)--(?!-)")
_DASHES = re.compile("[\u2010-\u2013\u2212\ufe58\ufe63\uff0d]")
_APOSTROPHES = re.compile("[‘’‚‛′＇]")
_NUMERALS = "〇零一二三四五六七八九十百千万萬億兆"
_WORD = rf"[^\W_{CJK}]"
_IN_A_WORD = rf"['\-_*^{_CUT}]+(?={_WORD})|(?<=\d)[.,:/·×⁄{_SPACE}](?=\d)"
_TOKEN = re.compile(
    rf"""
    (?: (?<![\w)]) [-+±] (?: [€$£¥] (?=\d) | (?=\.?\d) ) )?    # the sign of a number
    (?: (?<![\w.]) \. (?=\d) )?
    {_WORD}+ (?: (?:{_IN_A_WORD}) {_WORD}+ )* [{_NUMERALS}]*
    | \^\w+
    | [{_NUMERALS}]+
    | [^\s"“”„‟«»‹›「」『』｢｣″〝〟＂`*_|'\[\]]
    """,
    re.VERBOSE,
)
_AROUND = frozenset(".,;:!?()-…·、。，．！？¦")


def words_of(text: str) -> list[str]:
    """Return the words, numbers and punctuation of a text.

    Case, line ends, kinds of dashes, quotation marks, and the signs of Markdown and tables
    make no difference. A number is one word with its sign, marks and exponent; a Chinese,
    Japanese or Korean character is one.
    """
    text = _SOFT_HYPHEN.sub("", _AT_LINE_END.sub(_CUT, text))
    text = _LETTER_IN_BRACKETS.sub(r"\1", text)
    text = _LINE_MARK.sub("", _ROW_END.sub(f" {_ROW} ", text))
    text = _LONG_DASH.sub(" - ", _RULE.sub(" ", text))
    text = _APOSTROPHES.sub("'", _DASHES.sub("-", text))
    text = "".join(map(_plain, text)) if not text.isascii() else text
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _THOUSANDS.sub(lambda number: number[0].replace(" ", _SPACE), text)
    words = [found[0] for found in _TOKEN.finditer(text)]
    return [
        word for i, word in enumerate(words) if word != _ROW or words[i - 1 : i] != [_ROW]
    ]


def _plain(character: str) -> str:
    """Mark a small number, which NFKC would append to the number before it."""
    kind = unicodedata.category(character)
    if kind == "Cf":
        return ""
    return f"^{character}" if kind == "No" else character


def count_words(text: str) -> int:
    """Return how many words a text has, without punctuation; of CJK four are two."""
    cjk = len(re.findall(f"[{CJK}]", text))
    return len(re.findall(rf"{_WORD}+", text)) + cjk * MIN_WORDS // MIN_CJK


def has_words(quotation: str, lines: Sequence[str]) -> bool:
    """Whether lines have a quotation's words, in its order and without others between.

    An ellipsis may stand for up to 40 words, none of them a negation, if the parts beside
    it have two words or four CJK characters.

    Args:
        quotation: The words between quotation marks.
        lines: The words of the lines, by ``words_of``.
    """
    whole = _stripped(quotation)
    if not any(re.search(r"[^\W_]", word) for word in whole):
        return False
    if _places(whole, lines):
        return True
    parts = [part for part in map(_stripped, _LEFT_OUT.split(quotation)) if part]
    if any(count_words(" ".join(part)) < MIN_WORDS for part in parts):
        return False
    ends = list(range(len(lines) + 1))
    for number, part in enumerate(parts):
        begins = _places(part, lines)
        if number:
            begins = [begin for begin in begins if _follows(begin, ends, lines)]
        ends = [begin + len(part) for begin in begins]
    return bool(ends)


def _stripped(text: str) -> list[str]:
    words = words_of(text)
    while words and words[-1] in _AROUND:
        words.pop()
    # A dash at the beginning may be the sign of a number.
    while words and words[0] in _AROUND and words[0] != "-":
        words.pop(0)
    return words


def _places(part: Sequence[str], lines: Sequence[str]) -> list[int]:
    last = len(lines) - len(part)
    return [
        begin
        for begin in range(last + 1)
        if all(_same(part[i], lines[begin + i]) for i in range(len(part)))
    ]


def _same(one: str, other: str) -> bool:
    return one == other or (
        (_CUT in one or _CUT in other) and not _forms(one).isdisjoint(_forms(other))
    )


def _forms(word: str) -> set[str]:
    return {word.replace(_CUT, ""), word.replace(_CUT, "-")}


def _follows(begin: int, ends: Sequence[int], lines: Sequence[str]) -> bool:
    """Whether what is between a part and the one before it may be left out."""
    before = bisect_right(ends, begin)
    return before > 0 and _may_be_left_out(lines[ends[before - 1] : begin])


def _may_be_left_out(words: Sequence[str]) -> bool:
    counted = [word for word in words if word not in _AROUND]
    return len(counted) <= MAX_LEFT_OUT and not any(map(_NEGATION.fullmatch, counted))
