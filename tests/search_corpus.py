"""Texts that nobody wrote for this project, and queries with the right passage.

data/search_corpus.tar.xz holds the texts and 200 queries, and its README names their source
and licences. data/held_out_queries.tsv holds 100 more, drawn and written in the same way
for other passages: no constant of the search is chosen by them.
"""

from __future__ import annotations

import re
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gptoss_mlx.library.text import Heading, Text

DATA = Path(__file__).parent / "data"
ARCHIVE = DATA / "search_corpus.tar.xz"
HELD_OUT = DATA / "held_out_queries.tsv"
LANGUAGES = ("en", "de", "ja", "code")


@dataclass(frozen=True, slots=True)
class Query:
    """A query and the passage that answers it.

    Attributes:
        language: One of ``LANGUAGES``.
        rephrased: Whether it shares at most two stems with the passage.
        name: The document.
        first_line: Index of the passage's first line, from 0.
        last_line: Index of its last line.
        text: What is searched for.
    """

    language: str
    rephrased: bool
    name: str
    first_line: int
    last_line: int
    text: str

    def is_in(self, name: str, first_line: int, last_line: int) -> bool:
        """Return whether half of the passage's lines are among these."""
        shared = min(last_line, self.last_line) - max(first_line, self.first_line) + 1
        return name == self.name and 2 * shared > self.last_line - self.first_line


@cache
def _files() -> dict[str, str]:
    files: dict[str, str] = {}
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            if (file := archive.extractfile(member)) is not None:
                files[member.name] = file.read().decode()
    return files


@cache
def corpus() -> dict[str, Text]:
    """Return all documents by name, such as "de/sort.1.txt"."""
    documents: dict[str, Text] = {}
    for name, content in _files().items():
        folder, _, file = name.partition("/")
        if folder not in LANGUAGES:
            continue
        lines = tuple(content.removesuffix("\n").split("\n"))
        headings = () if folder == "code" else _headings(lines)
        documents[name] = Text(file, lines, headings)
    return documents


@cache
def queries() -> tuple[Query, ...]:
    """Return the 200 queries that the search is tuned on: 50 in each language."""
    return _queries(_files()["queries.tsv"])


@cache
def held_out_queries() -> tuple[Query, ...]:
    """Return the 100 queries that the search is not tuned on: 25 in each language."""
    return _queries(HELD_OUT.read_text(encoding="utf-8"))


def _queries(table: str) -> tuple[Query, ...]:
    found = []
    for line in table.splitlines():
        language, kind, file, first, last, text = line.split("\t")
        name = f"{language}/{file}"
        found.append(
            Query(language, kind == "rephrased", name, int(first) - 1, int(last) - 1, text)
        )
    return tuple(found)


def _headings(lines: tuple[str, ...]) -> tuple[Heading, ...]:
    # The first and the last line of a man page are its header and footer.
    return tuple(
        Heading(index, 1 if line[0] != " " else 2, line.strip())
        for index, line in enumerate(lines[1:-1], 1)
        if re.match(r"( {3})?\S", line)
    )
