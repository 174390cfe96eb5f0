"""The terms of an index: how frequent they are, and which look like another."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from difflib import SequenceMatcher

__all__ = ["StoredVocabulary"]

_MIN_LETTERS = 4
_MAX_LETTERS = 40
_MAX_REMEMBERED = 300_000
_MAX_LONGER = 40
_MAX_SIMILAR = 5
_LEAST_SIMILARITY = 0.8


class StoredVocabulary:
    """The terms in the tables of an index."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Use the tables of ``database``."""
        self._database = database
        self._added: set[str] = set()

    @property
    def passage_count(self) -> int:
        """How many passages there are."""
        (count,) = self._database.execute("SELECT count(*) FROM passages").fetchone()
        return int(count)

    def add(self, *lists: Iterable[str]) -> None:
        """Add the terms of a passage, in the caller's transaction."""
        new = {term for terms in lists for term in terms} - self._added
        if len(self._added) + len(new) > _MAX_REMEMBERED:
            self._added.clear()
        self._added |= new
        self._database.executemany(
            "INSERT OR IGNORE INTO vocabulary (term) VALUES (?)",
            [(term,) for term in new if _is_listed(term)],
        )

    def forget(self) -> None:
        """Take back what was added since the last commit."""
        self._added.clear()

    def drop_unused(self) -> None:
        """Remove the terms that no passage has, in the caller's transaction."""
        self._database.execute(
            "DELETE FROM vocabulary WHERE term NOT IN (SELECT term FROM term_counts)"
        )
        self.forget()

    def counts(self, terms: Iterable[str]) -> dict[str, int]:
        """Return in how many passages each term is, without those in none."""
        wanted = list(terms)
        marks = ", ".join("?" * len(wanted))
        rows = self._database.execute(
            f"SELECT term, doc FROM term_counts WHERE term IN ({marks})",  # noqa: S608
            wanted,
        )
        return dict(rows.fetchall())

    def containing(self, part: str) -> list[str]:
        """Return terms that contain ``part``, the shortest first."""
        return self._matching(part, _MAX_LONGER)

    def similar(self, term: str) -> list[str]:
        """Return terms that ``term`` may be a misspelling of, the most similar first."""
        rows = self._database.execute(
            "SELECT term FROM vocabulary WHERE term >= ? AND term < ? LIMIT 5000",
            (term[:3], term[:3] + "\U0010ffff"),
        )
        candidates = {found for (found,) in rows} | set(self._matching(term[-4:], 2000))
        matcher = SequenceMatcher(b=term, autojunk=False)
        rated = []
        for candidate in candidates:
            if abs(len(candidate) - len(term)) > 2:
                continue
            matcher.set_seq1(candidate)
            if (ratio := matcher.ratio()) >= _LEAST_SIMILARITY:
                rated.append((-ratio, candidate))
        return [candidate for _, candidate in sorted(rated)[:_MAX_SIMILAR]]

    def _matching(self, part: str, limit: int) -> list[str]:
        trigrams = {part[i : i + 3] for i in range(len(part) - 2)}
        match = " AND ".join(f'"{trigram}"' for trigram in sorted(trigrams))
        rows = self._database.execute(
            "SELECT vocabulary.term FROM trigrams JOIN vocabulary ON id = trigrams.rowid"
            " WHERE trigrams MATCH ? AND instr(vocabulary.term, ?) LIMIT 2000",
            (match, part),
        )
        found = sorted((term for (term,) in rows), key=lambda term: (len(term), term))
        return found[:limit]


def _is_listed(term: str) -> bool:
    # Not numbers, nor pairs of Chinese or Japanese characters.
    return _MIN_LETTERS <= len(term) <= _MAX_LETTERS and term.isalpha()
