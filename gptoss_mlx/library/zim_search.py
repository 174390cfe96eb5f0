"""Finds articles of a ZIM archive by the words of a query.

libzim finds only articles that have all words of a query, as a search engine for a few
words does. A question has more words than its answer, so fewer of them are tried too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any

from gptoss_mlx.library.stop_words import STOP_WORDS
from gptoss_mlx.library.words import TOKEN, is_cjk, plain

__all__ = ["ArticleCounts", "ArticleSearch"]

_ALL_STOP_WORDS = frozenset().union(*STOP_WORDS.values())
_MAX_WORDS = 12
_MAX_SEARCHES = 20
_FOUND_BY_ONE = 12
_RAREST = 4
# What stands between hiragana, which are mostly endings and particles.
_CONTENT = re.compile("[^\u3041-\u309f]{2,}")
_LONG_RUN = 4


class ArticleSearch:
    """The index of an archive."""

    def __init__(self, archive: Any) -> None:
        """Use the index of a ``libzim.reader.Archive``."""
        from libzim.search import Searcher

        self._archive = archive
        self._searcher = Searcher(archive) if archive.has_fulltext_index else None
        self._known: dict[str, int] = {}

    def words(self, query: str) -> list[str]:
        """Return the words to search for; of Chinese and Japanese, runs and pairs."""
        words: list[str] = []
        stop_words: list[str] = []
        for token in TOKEN.findall(plain(query)):
            if not is_cjk(token):
                is_stop_word = token.casefold() in _ALL_STOP_WORDS
                (stop_words if is_stop_word else words).append(token.casefold())
                continue
            for run in _CONTENT.findall(token) or [token]:
                if len(run) > _LONG_RUN:
                    words += [run[at : at + 2] for at in range(len(run) - 1)]
                else:
                    words.append(run)
        return list(dict.fromkeys(words or stop_words))[:_MAX_WORDS]

    def counts(self, words: Iterable[str]) -> ArticleCounts:
        """Return in how many articles words are, as the vocabulary of a query."""
        return ArticleCounts(self, self._archive.article_count, words)

    def count(self, text: str) -> int:
        """Return in how many articles all words of a text are, about."""
        if self._searcher is None:
            return 0
        if text not in self._known:
            self._known[text] = self._find(text).getEstimatedMatches()
        return self._known[text]

    def articles(self, words: list[str], limit: int) -> list[str]:
        """Return the paths of articles, those with the most words first."""
        found = dict.fromkeys(self._titled(words))
        for query in self._queries(words):
            if len(found) >= limit:
                break
            search = self._find(query)
            found.update(dict.fromkeys(search.getResults(0, _FOUND_BY_ONE)))
        return list(found)[:limit]

    def _find(self, text: str) -> Any:
        from libzim.search import Query
        from libzim.suggestion import SuggestionSearcher

        if self._searcher is None:
            return SuggestionSearcher(self._archive).suggest(text)
        return self._searcher.search(Query().set_query(text))

    def _titled(self, words: list[str]) -> Iterator[str]:
        """Yield the articles whose title is one of the words, or two in a row."""
        pairs = [f"{first} {second}" for first, second in pairwise(words)]
        for title in (*pairs, *words):
            for form in dict.fromkeys((title.capitalize(), title.title(), title)):
                if self._archive.has_entry_by_title(form):
                    entry = self._archive.get_entry_by_title(form)
                    yield entry.get_item().path
                    break

    def _queries(self, words: list[str]) -> Iterator[str]:
        """Yield ever fewer words, the rarest last to be left out."""
        if self._searcher is None:
            known = words
        else:
            known = sorted(filter(self.count, words), key=self.count)
        queries = [known]
        queries += [[*known[:at], *known[at + 1 :]] for at in range(len(known) - 1, -1, -1)]
        queries += [list(pair) for pair in combinations(known[:_RAREST], 2)]
        queries += [[word] for word in known]
        tried = list(dict.fromkeys(" ".join(query) for query in queries if query))
        # Single words come last, and find what no combination does.
        yield from tried[: _MAX_SEARCHES - _RAREST]
        yield from (word for word in known[:_RAREST] if word in tried)


class ArticleCounts:
    """How frequent the words of a query are in an archive: a ``Vocabulary``."""

    def __init__(self, search: ArticleSearch, total: int, words: Iterable[str]) -> None:
        """Count by ``search`` in ``total`` articles; stems stand for ``words``."""
        self._search = search
        self._total = total
        self._words = list(words)

    @property
    def passage_count(self) -> int:
        """How many articles there are."""
        return max(self._total, 1)

    def counts(self, terms: Iterable[str]) -> dict[str, int]:
        """Return in how many articles each term is, without those in none."""
        return {term: count for term in terms if (count := self._count(term))}

    def _count(self, term: str) -> int:
        # A stem may be no word, and would be stemmed again.
        of_stem = [word for word in self._words if word.startswith(term)]
        return self._search.count(min(of_stem, key=len, default=term))

    def containing(self, part: str) -> list[str]:
        """Return no terms: the archive's index cannot list them."""
        return []

    def similar(self, term: str) -> list[str]:
        """Return no terms: the archive's index cannot list them."""
        return []
