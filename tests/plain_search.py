"""What common searches find, to compare with.

SQLite's own: passages of 40 lines, by BM25. ripgrep's: files by the number of distinct
words of the query that ``rg --ignore-case --fixed-strings --files-with-matches WORD`` lists
them for, then by name; of each, 40 lines from the one with the most of the words.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Mapping

from gptoss_mlx.library.text import Text

LINES = 40


class PlainSearch:
    """A table of FTS5 with one of its tokenizers."""

    def __init__(self, documents: Mapping[str, Text], tokenizer: str) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.execute(
            "CREATE VIRTUAL TABLE passages USING fts5"
            f" (name UNINDEXED, line UNINDEXED, text, tokenize = '{tokenizer}')"
        )
        for name, text in documents.items():
            for line in range(0, len(text.lines), LINES):
                self._database.execute(
                    "INSERT INTO passages VALUES (?, ?, ?)",
                    (name, line, "\n".join(text.lines[line : line + LINES])),
                )

    def __enter__(self) -> PlainSearch:
        return self

    def __exit__(self, *error: object) -> None:
        self._database.close()

    def search(self, query: str, limit: int = 3) -> list[tuple[str, int, int]]:
        """Return name, first and last line of the passages with most of the words."""
        match = " OR ".join(f'"{word}"' for word in _words(query))
        rows = self._database.execute(
            "SELECT name, line FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT ?",
            (match, limit),
        )
        return [(name, line, line + LINES - 1) for name, line in rows]


class GrepSearch:
    """Files that most words of a query are in, as ripgrep lists them."""

    def __init__(self, documents: Mapping[str, Text]) -> None:
        self._documents = {
            name: [line.lower() for line in text.lines]
            for name, text in sorted(documents.items())
        }
        self._contents = {name: "\n".join(lines) for name, lines in self._documents.items()}

    def files(self, word: str) -> set[str]:
        """Return the names of the files that a word is in."""
        lowered = word.lower()
        return {name for name, content in self._contents.items() if lowered in content}

    def search(self, query: str, limit: int = 3) -> list[tuple[str, int, int]]:
        """Return name, first and last line for the files with most of the words."""
        words = {word.lower() for word in _words(query)}
        listed = Counter(name for word in sorted(words) for name in self.files(word))
        names = sorted(listed, key=lambda name: (-listed[name], name))
        return [(name, *self._lines(name, words)) for name in names[:limit]]

    def _lines(self, name: str, words: set[str]) -> tuple[int, int]:
        counts = [sum(word in line for word in words) for line in self._documents[name]]
        best = counts.index(max(counts))
        return best, best + LINES - 1


def _words(query: str) -> list[str]:
    return re.findall(r"\w+", query)
