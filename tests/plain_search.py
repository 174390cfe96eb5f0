"""What SQLite's own search finds, to compare with: passages of 40 lines, by BM25."""

from __future__ import annotations

import re
import sqlite3
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
        match = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", query))
        rows = self._database.execute(
            "SELECT name, line FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT ?",
            (match, limit),
        )
        return [(name, line, line + LINES - 1) for name, line in rows]
