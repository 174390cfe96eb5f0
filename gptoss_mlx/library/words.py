"""From text to the terms that are indexed and searched.

Words are case-folded and stemmed in the document's language. An identifier or a word with
hyphens is indexed whole and in parts; Chinese and Japanese, which have no spaces, as pairs
of characters, and each ideograph as a part.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import NamedTuple

import Stemmer

from gptoss_mlx.library.stop_words import STOP_WORDS

__all__ = [
    "TOKEN",
    "VERSION",
    "Analyzer",
    "Terms",
    "analyzer",
    "has_hiragana",
    "is_cjk",
    "language_of",
    "plain",
]

# Whoever changes what terms a text has changes this: an index of other terms is made anew.
VERSION = 2

# Hiragana, katakana and their prolonged sound mark, ideographs, hangul.
_CJK = "\u3005-\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_HIRAGANA = re.compile("[\u3041-\u309f\u30fc]+")
_IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
# A word with its hyphens, or a run of characters without spaces.
TOKEN = re.compile(f"[{_CJK}]+|[^\\W{_CJK}]+(?:-[^\\W{_CJK}]+)*")

_BETWEEN_CJK = re.compile(f"(?<=[{_CJK}])[ \\t\\n]+(?=[{_CJK}])")
_HYPHENATED = re.compile("(?<=[^\\W\\d_])[\u2010\u00ad][ \\t]*\\n[ \\t]*(?=[^\\W\\d_])")
_AFTER_HYPHEN = re.compile("(?<=\\w)-[ \\t]*\\n[ \\t]*(?=\\w)")
# loadTests, HTTPServer, md5sum, snake_case
_LOWER = "a-zß-öø-ÿ"
_SUBWORD = re.compile(
    f"[^\\W\\d_{_LOWER}]+(?![{_LOWER}])|[^\\W\\d_]?[{_LOWER}]+|\\d+|[^\\W\\d_]+"
)
_LEAST_STOP_WORDS = 3
_MAX_CHARACTERS = 60
_MAX_CACHED = 200_000

_STEMMERS = {
    "da": "danish",
    "de": "german",
    "en": "english",
    "es": "spanish",
    "fr": "french",
    "it": "italian",
    "nl": "dutch",
    "pt": "portuguese",
    "sv": "swedish",
}


# A word of several languages tells less of the language.
_STOP_WORD_SHARES = {
    word: 1 / sum(word in listed for listed in STOP_WORDS.values())
    for word in frozenset().union(*STOP_WORDS.values())
}


class Terms(NamedTuple):
    """The terms of a text.

    Attributes:
        words: One per word, in order, with spaces between.
        parts: What is also found: parts of identifiers, words with hyphens as one, single
            ideographs.
    """

    words: str
    parts: str


def plain(text: str) -> str:
    """Return a text in one Unicode form, words broken at line ends joined."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = _HYPHENATED.sub("", text)
        text = text.replace("\u2010", "-").replace("\u2011", "-").replace("\u00ad", "")
        text = _BETWEEN_CJK.sub("", text)
    return _AFTER_HYPHEN.sub("-", text)


def is_cjk(text: str) -> bool:
    """Return whether a term is of characters written without spaces."""
    return re.match(f"[{_CJK}]", text) is not None


def has_hiragana(text: str) -> bool:
    """Return whether a character of a term is hiragana: an ending or a particle."""
    return re.search("[\u3041-\u309f]", text) is not None


class Analyzer:
    """Splits texts of one language into terms."""

    def __init__(self, language: str) -> None:
        """Stem words as ``language`` does, a code of two letters."""
        self.language = language
        self._stem = Stemmer.Stemmer(_STEMMERS[language]).stemWord
        self._known: dict[str, Terms] = {}

    def terms(self, text: str) -> Terms:
        """Return the terms of a text, words broken at line ends joined."""
        words, parts = [], []
        for term in self.split(plain(text)):
            words.append(term.words)
            if term.parts:
                parts.append(term.parts)
        return Terms(" ".join(filter(None, words)), " ".join(parts))

    def split(self, text: str) -> list[Terms]:
        """Return the terms of each word of a text that :func:`plain` has returned."""
        known = self._known
        found = []
        for token in TOKEN.findall(text):
            terms = known.get(token)
            if terms is None:
                terms = self._terms_of(token)
                if len(known) >= _MAX_CACHED:
                    known.clear()
                known[token] = terms
            found.append(terms)
        return found

    def stem(self, word: str) -> str:
        """Return the stem of a word, without accents."""
        stem: str = self._stem(word.casefold())
        if not stem.isascii():
            decomposed = unicodedata.normalize("NFKD", stem)
            stem = "".join(c for c in decomposed if not unicodedata.combining(c))
        return stem[:_MAX_CHARACTERS]

    def _terms_of(self, token: str) -> Terms:
        if is_cjk(token):
            ideographs = _IDEOGRAPH.findall(token) if len(token) > 1 else []
            return Terms(" ".join(_pairs(token)), " ".join(ideographs))
        pieces = token.split("-")
        words = []
        parts = [self.stem("".join(pieces))] if len(pieces) > 1 else []
        for piece in pieces:
            subwords = _SUBWORD.findall(piece)
            # Whole identifiers are compared letter by letter, not by stem.
            if len(subwords) > 1:
                words.append("".join(subwords).casefold()[:_MAX_CHARACTERS])
                parts.extend(self.stem(subword) for subword in subwords)
            else:
                words.append(self.stem(piece.strip("_")))
        return Terms(" ".join(filter(None, words)), " ".join(parts))


def _pairs(run: str) -> list[str]:
    # Pairs of hiragana alone are grammar: they take half of the index and find nothing.
    if len(run) == 1:
        return [] if _HIRAGANA.fullmatch(run) else [run]
    pairs = [run[i : i + 2] for i in range(len(run) - 1)]
    return [pair for pair in pairs if not _HIRAGANA.fullmatch(pair)]


@cache
def analyzer(language: str) -> Analyzer:
    """Return the analyzer of a language; English for one that has none."""
    return Analyzer(language if language in _STEMMERS else "en")


def language_of(text: str) -> str:
    """Return the language that most stop words are of; English if there are none."""
    words = set(re.findall("[^\\W\\d_]{2,}", text.casefold()))
    counts = {
        language: sum(_STOP_WORD_SHARES[word] for word in words & listed)
        for language, listed in STOP_WORDS.items()
    }
    best = max(counts, key=lambda language: counts[language])
    return best if counts[best] > max(counts["en"], _LEAST_STOP_WORDS) else "en"
