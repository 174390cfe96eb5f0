from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gptoss_mlx.errors import DocumentNotFoundError, StorageError
from gptoss_mlx.library.index import Index
from gptoss_mlx.library.text import Heading, Link, Text

LEASE = Text(
    "Lease",
    ("Rent", "It is due on the first.", "", "Heating", "The landlord repairs the boiler."),
    (Heading(0, 1, "Rent"), Heading(3, 1, "Heating")),
    pages=(0, 3),
)


def text(*lines: str) -> Text:
    """A document of these lines."""
    return Text("Notes", lines)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An index without documents."""
    with Index(tmp_path / "library" / "index.db") as index:
        yield index


def names(index: Index, query: str) -> list[str]:
    """The documents found, the best first."""
    return [hit.name for hit in index.search(query)]


def test_a_hit_says_where_it_stands(index: Index) -> None:
    """Name, title, lines, and its best line with the headings and the page of that line."""
    index.add("lease.pdf", LEASE)

    (hit,) = index.search("who repairs boilers?")

    assert (hit.name, hit.title) == ("lease.pdf", "Lease")
    assert (hit.first_line, hit.last_line, hit.best_line) == (0, 4, 4)
    assert (hit.headings, hit.page) == (("Heating",), 2)
    assert hit.text == "\n".join(LEASE.lines)
    assert hit.score > 0


@pytest.mark.parametrize(
    ("line", "query"),
    [
        ("Die Mietvertragsunterlagen liegen im Schrank, das ist nicht neu.", "Mietvertrag"),
        ("Der Vertrag über die Miete ist im Schrank, und das ist gut so.", "Mietvertrag"),
        ("Das Hauptmenü ist nicht für alle, und das ist gut so.", "Menue"),
        ("The boiler was repaired in March.", "boilr"),
        ("Call HTTPServer.serve_forever in a thread.", "server forever"),
        ("大家がボイラーを修理します。", "ボイラー修理"),
        ("電気料金", "料金"),
        ("Who is it?", "who is it"),
    ],
)
def test_a_word_in_another_form(index: Index, line: str, query: str) -> None:
    """Compounds and their parts, misspellings, identifiers and Japanese are found."""
    index.add("other.txt", text("Nothing of that kind, und das ist auch nicht schlecht."))
    index.add("right.txt", text(line))

    assert names(index, query)[0] == "right.txt"


@pytest.mark.parametrize("query", ["", "?", '"', 'a" OR "b', "NEAR(", "-", "zebra", "の"])
def test_a_query_that_finds_nothing(index: Index, query: str) -> None:
    """It has no hits, and is never read as SQLite's syntax."""
    index.add("lease.pdf", LEASE)

    assert index.search(query) == []


def test_a_title_weighs_more_than_a_word(index: Index) -> None:
    """The document about a subject comes before one that mentions it."""
    index.add("a", Text("Diary", ("The boiler is loud.",)))
    index.add("b", Text("Boiler", ("It is loud, says the boiler's maker.",)))

    assert names(index, "boiler") == ["b", "a"]


def test_a_document_added_again_replaces_the_old(index: Index) -> None:
    """Its old words are no longer found."""
    index.add("a", text("boiler"))
    index.add("a", text("kettle"))

    assert names(index, "boiler") == []
    assert names(index, "kettle") == ["a"]
    assert index.names() == ["a"]


def test_a_removed_document_is_gone(index: Index) -> None:
    """Removing all leaves SQLite's index whole and empty."""
    index.add("lease.pdf", LEASE)
    index.add("straße.txt", text("Größe", "暗号化", "\ud800 half a pair"))

    assert index.remove("straße.txt")
    assert not index.remove("straße.txt")
    assert index.remove("lease.pdf")
    assert names(index, "boiler") == []
    with closing(sqlite3.connect(index.path)) as database:
        database.execute("INSERT INTO terms (terms) VALUES ('integrity-check')")
        assert database.execute("SELECT count(*) FROM term_counts").fetchone() == (0,)


def test_a_transaction_that_fails(index: Index) -> None:
    """Nothing of it is kept, and the index goes on."""
    index.add("a", text("boiler"))

    def stop() -> None:
        with index.transaction():
            index.add("b", text("kettle"))
            index.remove("a")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stop()

    assert index.names() == ["a"]
    index.add("b", text("kettle"))
    assert names(index, "kettles") == ["b"]


def test_an_index_of_other_terms_is_emptied(index: Index) -> None:
    """What another version of the program has made is not mixed with ours."""
    index.add("a", text("boiler"))
    index.close()
    with closing(sqlite3.connect(index.path)) as database:
        database.execute("PRAGMA user_version = 1")

    with Index(index.path) as again:
        assert again.names() == []
        again.add("a", text("boiler"))
        assert names(again, "boiler") == ["a"]


def test_a_file_that_is_no_index(tmp_path: Path) -> None:
    """It is refused and left as it was."""
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE passages (mine)")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)

    for path in (other, broken):
        before = path.read_bytes()
        with pytest.raises(StorageError, match=path.name):
            Index(path)
        assert path.read_bytes()[100:] == before[100:]


def test_a_text_is_given_back(index: Index) -> None:
    """Title, every line, headings, pages and links; a name need not be UTF-8."""
    lines = ("", "Rent", "", "  It is\tdue.", " ", "", "Heating: see rent", "\t", "")
    whole = Text(
        "Le\udce9se",
        lines,
        (Heading(1, 1, "R\ud800ent"), Heading(6, 2, "Heating")),
        (0, 6),
        (Link(6, 13, 17, "a b/re%20nt.md#\udce9"),),
    )
    index.add("caf\udce9", whole)
    index.add("empty", Text("Empty", ()))

    found = index.text("caf\udce9")

    assert [line.rstrip() for line in found.lines] == [line.rstrip() for line in lines]
    assert found.title == r"Le\udce9se"
    assert (found.headings, found.pages, found.links) == (
        whole.headings,
        whole.pages,
        whole.links,
    )
    assert index.text("empty") == Text("Empty", ())
    with pytest.raises(DocumentNotFoundError, match="nothing: is not in the library"):
        index.text("nothing")
