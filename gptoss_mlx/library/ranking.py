"""How well a passage answers a query."""

from __future__ import annotations

from typing import NamedTuple

from gptoss_mlx.library.query import Group
from gptoss_mlx.library.words import TOKEN, Analyzer, Terms, plain

__all__ = ["Ranking"]

# BM25's constants: how soon more of a word adds nothing, and how much length matters.
K1 = 1.0
B = 0.4
MEAN_WORDS = 300
TITLE = 3.0
HEADING = 0.4
WINDOW = 80
WINDOW_WEIGHT = 0.5
ADJACENT = 3
ADJACENT_WEIGHT = 0.2
PART = 0.7
# Of one passage; only a line that is longer than a passage exceeds it.
_MAX_CHARACTERS = 20_000


class _Found(NamedTuple):
    position: int
    group: int
    share: float


class Ranking:
    """Scores passages for one query."""

    def __init__(self, groups: list[Group]) -> None:
        """Score passages by ``groups``."""
        self._weights = [group.weight for group in groups]
        # By language and word: a passage is mostly of words that others have too.
        self._known: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self._wanted: dict[str, list[tuple[int, float]]] = {}
        for index, group in enumerate(groups):
            for term, share in group.terms.items():
                self._wanted.setdefault(term, []).append((index, share))

    def score(self, analyzer: Analyzer, title: str, headings: str, text: str) -> float:
        """Return how well a passage answers the query, from 0."""
        found, words = self._find(analyzer, text)
        in_title = self._shares(analyzer, title)
        in_headings = self._shares(analyzer, headings)
        counts: dict[int, float] = {}
        for each in found:
            counts[each.group] = counts.get(each.group, 0.0) + each.share
        length = 1 - B + B * words / MEAN_WORDS
        total = 0.0
        for group, weight in enumerate(self._weights):
            count = counts.get(group, 0.0)
            total += weight * count * (K1 + 1) / (count + K1 * length)
            total += weight * TITLE * in_title.get(group, 0.0)
            total += weight * HEADING * in_headings.get(group, 0.0)
        total += WINDOW_WEIGHT * self._densest(found)
        return total + ADJACENT_WEIGHT * self._adjacent(found)

    def best_line(self, analyzer: Analyzer, lines: list[str]) -> int:
        """Return the index of the line that most of the query is in."""
        scores = []
        for index, line in enumerate(lines):
            # A word may begin on this line and end on the next.
            own = self._shares(
                analyzer, "\n".join(lines[index : index + 2])[:_MAX_CHARACTERS]
            )
            alone = self._shares(analyzer, line)
            score = 0.5 * self._worth(own) + self._worth(alone)
            scores.append(score)
        return max(range(len(lines)), key=lambda index: (scores[index], -index))

    def _worth(self, shares: dict[int, float]) -> float:
        return sum(self._weights[group] * share for group, share in shares.items())

    def _shares(self, analyzer: Analyzer, text: str) -> dict[int, float]:
        shares: dict[int, float] = {}
        for each in self._find(analyzer, text)[0]:
            shares[each.group] = max(shares.get(each.group, 0.0), each.share)
        return shares

    def _find(self, analyzer: Analyzer, text: str) -> tuple[list[_Found], int]:
        # Also return how many words there are. Most of them are in no group.
        known = self._known.setdefault(analyzer.language, {})
        tokens = TOKEN.findall(plain(text[:_MAX_CHARACTERS]))
        found = []
        for position, token in enumerate(tokens):
            matches = known.get(token)
            if matches is None:
                matches = known[token] = self._matches(analyzer.split(token))
            for group, share in matches:
                found.append(_Found(position, group, share))
        return found, len(tokens)

    def _matches(self, tokens: list[Terms]) -> list[tuple[int, float]]:
        return [
            (group, share * factor)
            for token in tokens
            for text, factor in ((token.words, 1.0), (token.parts, PART))
            for term in text.split()
            for group, share in self._wanted.get(term, ())
        ]

    def _densest(self, found: list[_Found]) -> float:
        # The most that stands within WINDOW words.
        best, start = 0.0, 0
        for end, last in enumerate(found):
            while last.position - found[start].position >= WINDOW:
                start += 1
            shares: dict[int, float] = {}
            for each in found[start : end + 1]:
                shares[each.group] = max(shares.get(each.group, 0.0), each.share)
            best = max(best, self._worth(shares))
        return best

    def _adjacent(self, found: list[_Found]) -> float:
        # Words that are neighbours in the query and here.
        pairs: dict[int, float] = {}
        for index, first in enumerate(found):
            for second in found[index + 1 :]:
                if second.position - first.position > ADJACENT:
                    break
                if second.group == first.group + 1:
                    weight = min(self._weights[first.group], self._weights[second.group])
                    worth = weight * min(first.share, second.share)
                    pairs[first.group] = max(pairs.get(first.group, 0.0), worth)
        return sum(pairs.values())
