"""A back end for a few texts in memory, with search by words.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from gptoss_mlx.errors import ToolError
from gptoss_mlx.tools.browser.backend import VIEW_SOURCE, SearchResult, results_page
from gptoss_mlx.tools.browser.page import Page, in_a_line, plain_line

__all__ = ["Document", "Documents"]

TITLE_WEIGHT = 3
SATURATION = 1.5  # BM25's k1
LENGTH_WEIGHT = 0.75  # BM25's b
SUMMARY_LENGTH = 160

STOP_WORDS = (
    "a about an and are as at be by can did do does for from had has have how i in is it "
    "me my of on or our that the their there this to was we were what when where which who "
    "why will with you your"
)
"""Common words of questions. Among few documents they would count as rare words."""

_STOP_WORDS = frozenset(STOP_WORDS.split())
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Document:
    """A text that can be found and opened.

    Attributes:
        title: Its title.
        url: A URL or a path, used only as a name: nothing is downloaded.
        text: Its lines.
    """

    title: str
    url: str
    text: str


class Documents:
    """Texts in memory, as a browser's back end."""

    def __init__(self, documents: Iterable[Document]) -> None:
        """Index the documents.

        Raises:
            ValueError: Two have the same URL.
        """
        self._pages: dict[str, Page] = {}
        for document in documents:
            if document.url in self._pages:
                raise ValueError(
                    f"[Documents] URLs must differ but {document.url!r} is there twice."
                )
            self._pages[document.url] = _page(document)
        self._words = {
            url: Counter(_words(page.title) * TITLE_WEIGHT + _words(page.text))
            for url, page in self._pages.items()
        }
        self._documents_with = Counter(
            word for words in self._words.values() for word in words
        )
        total = sum(words.total() for words in self._words.values())
        self._mean_length = total / len(self._words) if total else 1.0

    def search(self, query: str, topn: int) -> Page:
        """Rank by BM25, and show each document's best matching line."""
        words = dict.fromkeys(_words(query))
        wanted = [word for word in words if word not in _STOP_WORDS] or list(words)
        scores = {url: self._score(url, wanted) for url in self._pages}
        best = sorted((url for url in scores if scores[url]), key=lambda url: -scores[url])
        return results_page(query, [self._result(url, wanted) for url in best[:topn]])

    def fetch(self, url: str) -> Page:
        """Return a document's page.

        Raises:
            ToolError: No document has this URL.
        """
        url = url.removeprefix(VIEW_SOURCE)
        # The model may write it as shown, or percent-encoded as in links.
        for name in (url, unquote(url)):
            if name in self._pages:
                return self._pages[name]
        raise ToolError("There is no such document. Use browser.search to find one.")

    def _score(self, url: str, wanted: Sequence[str]) -> float:
        words = self._words[url]
        length = words.total() / self._mean_length
        norm = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * length)
        return sum(
            self._rarity(word) * words[word] * (SATURATION + 1) / (words[word] + norm)
            for word in wanted
            if word in words
        )

    def _rarity(self, word: str) -> float:
        having = self._documents_with[word]
        return math.log(1 + (len(self._pages) - having + 0.5) / (having + 0.5))

    def _result(self, url: str, wanted: Sequence[str]) -> SearchResult:
        page = self._pages[url]
        lines = page.text.split("\n")
        fits = [
            sum(map(self._rarity, set(_words(line)).intersection(wanted))) for line in lines
        ]
        line = max(range(len(lines)), key=lambda line: (fits[line], bool(lines[line])))
        summary, begin = _summary(lines[line], wanted)
        display_line = page.display_line(line + 1)
        for piece in page.lines[display_line:]:
            if begin < len(piece):
                break
            begin -= len(piece)
            display_line += 1
        return SearchResult(page.title, url, summary, display_line)


def _page(document: Document) -> Page:
    lines = document.text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    title = in_a_line(" ".join(document.title.split()))
    return Page(document.url, title, "\n".join(map(plain_line, lines)))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _summary(line: str, wanted: Sequence[str]) -> tuple[str, int]:
    """Return a line's part about the words, and the column of the first."""
    if len(line) <= SUMMARY_LENGTH:
        return line, 0
    found = (m.start() for m in _WORD.finditer(line) if m[0].casefold() in wanted)
    first = next(found, 0)
    begin = max(first - SUMMARY_LENGTH // 4, 0)
    end = begin + SUMMARY_LENGTH
    text = line[begin:end].strip()
    return f"{'…' * (begin > 0)}{text}{'…' * (end < len(line))}", first
