"""A query as groups of terms, each with its weight."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from gptoss_mlx.library.stop_words import STOP_WORDS
from gptoss_mlx.library.words import TOKEN, analyzer, has_hiragana, is_cjk, plain

__all__ = ["Group", "Vocabulary", "parse_query"]

# What stands in for a word weighs less than the word.
SUBWORD = 0.6
COMPOUND = 0.5
MISSPELT = 0.6
PAIR = 0.6
# Of an ideograph and hiragana: where a word ends more often than a word.
MIXED_PAIR = 0.3
IDEOGRAPH = 0.4

_MIN_COMPOUND = 4
_ALL_STOP_WORDS = frozenset().union(*STOP_WORDS.values())


class Vocabulary(Protocol):
    """The terms of an index."""

    @property
    def passage_count(self) -> int:
        """How many passages there are."""

    def counts(self, terms: Iterable[str]) -> dict[str, int]:
        """Return in how many passages each term is, without those in none."""

    def containing(self, part: str) -> list[str]:
        """Return terms that contain ``part``, the shortest first."""

    def similar(self, term: str) -> list[str]:
        """Return terms that ``term`` may be a misspelling of."""


@dataclass(slots=True)
class Group:
    """Terms that stand for one word of a query.

    Attributes:
        terms: Each with its share of the weight.
        weight: How much a passage gains by it: more for a rare word.
        count: In how many passages the terms are, about.
    """

    terms: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0
    count: int = 0


def parse_query(text: str, languages: Iterable[str], vocabulary: Vocabulary) -> list[Group]:
    """Return the groups of a query over documents in ``languages``, in the query's order.

    Stop words count only if there is nothing else.
    """
    analyzers = [analyzer(language) for language in languages] or [analyzer("en")]
    text = plain(text)
    by_language = [each.split(text) for each in analyzers]
    groups: list[Group] = []
    stop_groups: list[Group] = []
    ideographs: list[Group] = []
    for token, *forms in zip(TOKEN.findall(text), *by_language, strict=True):
        words = [form.words.split() for form in forms]
        parts = {part for form in forms for part in form.parts.split()}
        if is_cjk(token):
            for pair in words[0]:
                groups.append(
                    Group({pair: 1.0}, MIXED_PAIR if has_hiragana(pair) else PAIR)
                )
            ideographs += [Group({one: 1.0}, IDEOGRAPH) for one in forms[0].parts.split()]
            continue
        is_stop_word = token.casefold() in _ALL_STOP_WORDS
        for variants in zip(*words, strict=True):
            group = Group(dict.fromkeys(variants, 1.0), 1.0)
            (stop_groups if is_stop_word else groups).append(group)
        groups += [Group({part: 1.0}, SUBWORD) for part in sorted(parts)]
    groups = [group for group in groups or stop_groups if any(group.terms)] + ideographs
    _weigh(groups, vocabulary)
    return groups


def _weigh(groups: list[Group], vocabulary: Vocabulary) -> None:
    counts = vocabulary.counts({term for group in groups for term in group.terms})
    for group in groups:
        group.count = sum(counts.get(term, 0) for term in group.terms)
        for term in list(group.terms):
            if len(term) >= _MIN_COMPOUND and term.isalpha() and not is_cjk(term):
                _expand(group, term, term in counts, vocabulary)
        total = vocabulary.passage_count
        count = min(max(group.count, 1), total)
        group.weight *= math.log(1 + (total - count + 0.5) / (count + 0.5))


def _expand(group: Group, term: str, is_known: bool, vocabulary: Vocabulary) -> None:
    for longer in vocabulary.containing(term):
        group.terms.setdefault(longer, COMPOUND)
    if is_known:
        return
    for part in _compound_parts(term, vocabulary):
        group.terms.setdefault(part, COMPOUND)
    if len(group.terms) == 1:
        for similar in vocabulary.similar(term):
            group.terms.setdefault(similar, MISSPELT)


def _compound_parts(term: str, vocabulary: Vocabulary) -> list[str]:
    # German joins words, some with a letter or two between.
    splits = {}
    for cut in range(_MIN_COMPOUND, len(term) - _MIN_COMPOUND + 1):
        for link in ("", "s", "es", "n", "en", "e"):
            if term[:cut].endswith(link):
                splits[term[: cut - len(link)], term[cut:]] = cut
    known = vocabulary.counts({part for split in splits for part in split})
    found = [split for split in splits if all(part in known for part in split)]
    if not found:
        return []
    return list(max(found, key=lambda split: min(len(part) for part in split)))
