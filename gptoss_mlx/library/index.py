"""An index of documents in a file, searched by passage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import TracebackType

from gptoss_mlx.library.database import connect, sqlite_errors, storable
from gptoss_mlx.library.layout import pack_layout, stored_layout, stored_text
from gptoss_mlx.library.lines import packed, unpacked
from gptoss_mlx.library.passages import passages
from gptoss_mlx.library.query import Group, parse_query
from gptoss_mlx.library.ranking import Ranking
from gptoss_mlx.library.stored_files import StoredFiles
from gptoss_mlx.library.text import Text
from gptoss_mlx.library.vocabulary import StoredVocabulary
from gptoss_mlx.library.words import Analyzer, analyzer, language_of

__all__ = ["Hit", "Index"]

# Passages that SQLite finds, to be ranked.
_CANDIDATES = 150
# Rows that SQLite ranks for a query: rarer words come first, and the rest are left out.
_MAX_ROWS = 20_000
_SAMPLE_LINES = 400


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search has found.

    Attributes:
        name: Of the document, as it was added.
        title: Of the document.
        first_line: Index of the passage's first line in the document, from 0.
        last_line: Index of its last line.
        headings: What its best line stands under, highest level first.
        page: Of its best line, from 1; None without pages.
        score: Higher is better; comparable within one search only.
        best_line: Index in the document of the line that most of the query is in.
        text: The passage's lines.
    """

    name: str
    title: str
    first_line: int
    last_line: int
    headings: tuple[str, ...]
    page: int | None
    score: float
    best_line: int
    text: str


class Index:
    """Documents in an SQLite file, found by their words.

    Processes may read and write one file at a time; a writer waits for another. A process
    that is killed leaves what it has committed. One thread at a time uses an object.

    Attributes:
        path: Of the SQLite file.
        files: Which files the documents were read from.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """Open the index at ``path``, or make an empty one.

        One made by another version of the program, with other terms, is emptied.

        Raises:
            StorageError: The file cannot be opened, or is not an index.
        """
        self.path = Path(path)
        self._database = connect(self.path)
        self._vocabulary = StoredVocabulary(self._database)
        self._depth = 0
        self.files = StoredFiles(self._database)

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is added and removed within at its end, or nothing of it.

        Raises:
            StorageError: The disk is full, or the file is damaged or was locked too long.
        """
        if self._depth == 0:
            with sqlite_errors(self.path):
                self._database.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            with sqlite_errors(self.path):
                yield
                if self._depth == 1:
                    self._database.commit()
        except BaseException:
            self._depth -= 1
            if self._depth == 0:
                self._database.rollback()
                self._vocabulary.forget()
            raise
        self._depth -= 1

    def names(self) -> list[str]:
        """Return the names of all documents, sorted."""
        rows = self._database.execute("SELECT name FROM documents ORDER BY name")
        return [name for (name,) in rows]

    def document_count(self) -> int:
        """Return how many documents there are."""
        (count,) = self._database.execute("SELECT count(*) FROM documents").fetchone()
        return int(count)

    def passage_count(self) -> int:
        """Return how many passages there are."""
        return self._vocabulary.passage_count

    def has(self, name: str) -> bool:
        """Return whether there is a document of this name."""
        found = self._database.execute(
            "SELECT 1 FROM documents WHERE name = ?", (storable(name),)
        )
        return found.fetchone() is not None

    def text(self, name: str) -> Text:
        """Return a document's text as it was added.

        Lines of white space alone may be empty, and halves of a pair are "?".

        Raises:
            DocumentNotFoundError: There is none of this name.
            StorageError: The file is damaged.
        """
        with self._snapshot():
            return stored_text(self._database, name)

    def add(
        self, name: str, text: Text, progress: Callable[[float], None] = lambda _: None
    ) -> None:
        """Add a document, in place of one of the same name.

        Args:
            name: Its name.
            text: Its text.
            progress: Called for each passage with the share that was added before it.
        """
        name, shown_title = storable(name), storable(text.title)
        language = language_of("\n".join(_sample(text.lines)))
        terms_of = analyzer(language).terms
        title = terms_of(shown_title)
        with self.transaction():
            self.remove(name)
            document = self._database.execute(
                "INSERT INTO documents (name, title, language, layout) VALUES (?, ?, ?, ?)",
                (name, shown_title, language, pack_layout(text)),
            ).lastrowid
            for passage in passages(text):
                progress(passage.first_line / len(text.lines))
                headings = storable("\n".join(passage.headings))
                row = self._database.execute(
                    "INSERT INTO passages (document, first_line, last_line, headings, page,"
                    " text) VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        document,
                        passage.first_line,
                        passage.last_line,
                        headings,
                        passage.page,
                        packed(passage.text),
                    ),
                ).lastrowid
                under = terms_of(headings)
                terms = terms_of(passage.text)
                self._database.execute(
                    "INSERT INTO terms (rowid, title, headings, words, parts)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (row, " ".join(title), " ".join(under), terms.words, terms.parts),
                )
                self._vocabulary.add(terms.words.split(), terms.parts.split())

    def remove(self, name: str) -> bool:
        """Remove a document; return whether it was there."""
        name = storable(name)
        with self.transaction():
            found = self._database.execute(
                "SELECT id, title, language FROM documents WHERE name = ?", (name,)
            ).fetchone()
            if found is None:
                return False
            document, title, language = found
            terms_of = analyzer(language).terms
            in_title = " ".join(terms_of(title))
            rows = self._database.execute(
                "SELECT id, headings, text FROM passages WHERE document = ?", (document,)
            )
            # FTS5 without content deletes by the terms, which are made from the text again.
            for row, headings, text in rows:
                terms = terms_of(unpacked(text))
                under = " ".join(terms_of(headings))
                self._database.execute(
                    "INSERT INTO terms (terms, rowid, title, headings, words, parts)"
                    " VALUES ('delete', ?, ?, ?, ?, ?)",
                    (row, in_title, under, terms.words, terms.parts),
                )
            self._database.execute("DELETE FROM passages WHERE document = ?", (document,))
            self._database.execute("DELETE FROM documents WHERE id = ?", (document,))
        return True

    def drop_unused_terms(self) -> None:
        """Remove from the vocabulary what is in no document any more."""
        with self.transaction():
            self._vocabulary.drop_unused()

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        # Another process may replace a document between two reads of it.
        with sqlite_errors(self.path):
            if self._depth:
                yield
                return
            self._database.execute("BEGIN")
            try:
                yield
            finally:
                self._database.rollback()

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Return the passages that best answer ``query``, the best first.

        Raises:
            StorageError: The file is damaged.
        """
        with sqlite_errors(self.path):
            return self._search(query, limit)

    def _search(self, query: str, limit: int) -> list[Hit]:
        rows = self._database.execute("SELECT DISTINCT language FROM documents")
        languages = sorted(language for (language,) in rows)
        groups = parse_query(query, languages, self._vocabulary)
        if not groups:
            return []
        ranking = Ranking(groups)
        scored = []
        for candidate in self._candidates(groups):
            scored.append((candidate.score(ranking), candidate))
        scored.sort(key=lambda pair: (-pair[0], pair[1].name, pair[1].first_line))
        best = [
            candidate.hit(score, ranking) for score, candidate in scored[:limit] if score
        ]
        layouts: dict[str, Text] = {}
        return [self._placed(hit, layouts) for hit in best]

    def _placed(self, hit: Hit, layouts: dict[str, Text]) -> Hit:
        # A passage may go over several headings and pages.
        if hit.name not in layouts:
            layouts[hit.name] = stored_layout(self._database, hit.name)
        layout = layouts[hit.name]
        return replace(
            hit,
            headings=layout.headings_of(hit.best_line),
            page=layout.page_of(hit.best_line),
        )

    def _candidates(self, groups: list[Group]) -> list[_Candidate]:
        terms: list[str] = []
        rows = 0
        for group in sorted(groups, key=lambda group: group.count):
            if terms and rows + group.count > _MAX_ROWS:
                break
            rows += group.count
            terms += group.terms
        match = " OR ".join(f'"{term}"' for term in dict.fromkeys(terms))
        found = self._database.execute(
            "SELECT name, title, language, first_line, last_line, headings, page, text"
            " FROM (SELECT rowid AS found FROM terms WHERE terms MATCH ?"
            " ORDER BY bm25(terms, 2.0, 1.0, 1.0, 0.5) LIMIT ?)"
            " JOIN passages ON passages.id = found"
            " JOIN documents ON documents.id = document",
            (match, _CANDIDATES),
        )
        return [_Candidate(*row) for row in found]


def _sample(lines: Sequence[str]) -> tuple[str, ...]:
    # Of the middle too: a document may begin with a notice in another language.
    middle = len(lines) // 2
    chosen = (*lines[:_SAMPLE_LINES], *lines[middle : middle + _SAMPLE_LINES])
    return tuple(line[:400] for line in chosen)


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    title: str
    language: str
    first_line: int
    last_line: int
    headings: str
    page: int | None
    compressed: bytes

    @property
    def text(self) -> str:
        """Its lines."""
        return unpacked(self.compressed)

    def score(self, ranking: Ranking) -> float:
        """Return its score."""
        return ranking.score(self.analyzer(), self.title, self.headings, self.text)

    def analyzer(self) -> Analyzer:
        """Return what splits it into terms."""
        return analyzer(self.language)

    def hit(self, score: float, ranking: Ranking) -> Hit:
        """Return it as a hit."""
        text = self.text
        best_line = ranking.best_line(self.analyzer(), text.split("\n"))
        headings = tuple(self.headings.split("\n")) if self.headings else ()
        return Hit(
            self.name,
            self.title,
            self.first_line,
            self.last_line,
            headings,
            self.page,
            score,
            self.first_line + best_line,
            text,
        )
