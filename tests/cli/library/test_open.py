"""``gptoss-mlx library open``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from library_command import library

from gptoss_mlx.errors import DocumentNotFoundError
from gptoss_mlx.library.index import Hit
from gptoss_mlx.library.text import Text


@pytest.mark.parametrize(
    "typed",
    [
        "notes/old/todo.txt",
        "old/todo.txt",
        "todo.txt",
        "TODO.txt",
        "./notes/old/todo.txt",
        "~/notes/old/todo.txt",
        "todo.txt:2",
    ],
)
def test_a_document_is_opened_by_its_name_or_path(
    typed: str, added: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or by an end of it that no other has; the shell's ~ too."""
    monkeypatch.setenv("HOME", str(added))
    done = library("open", typed)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.replace(">", " ").splitlines() == [
        " 1  Buy a lamp.",
        " 2  Read the heating meter.",
    ]


def test_a_document_is_opened_around_a_line(folder: Path) -> None:
    """About 40 lines; at the ends as many."""
    lines = [f"line {number}" for number in range(1, 201)]
    (folder / "notes" / "long.txt").write_text("\n".join(lines))
    library("add", "notes")
    for line, first, last in ((100, 80, 119), (1, 1, 40), (200, 161, 200)):
        shown = library("open", "long.txt", "--line", str(line)).stdout.splitlines()
        assert [row[1:].split(maxsplit=1) for row in (shown[0], shown[-1])] == [
            [str(first), f"line {first}"],
            [str(last), f"line {last}"],
        ]
        assert len({row.index("l") for row in shown}) == 1
        (marked,) = (row for row in shown if row[0] == ">")
        assert marked.endswith(f"{line}  line {line}")
    done = library("open", "long.txt", "--line", "201")
    assert "has 200 lines, and no line 201." in done.stderr


def test_a_page_begins_with_its_number(added: Path) -> None:
    """As it is what people look for in a PDF."""
    assert library("open", "two.pdf").stdout.splitlines() == [
        "    [page 1]",
        " 1  Rent",
        " 2  900 euros",
        "    [page 2]",
        " 3  Heating",
    ]


def test_what_is_indexed_is_shown_when_the_file_is_gone(added: Path) -> None:
    """As the model saw it."""
    (added / "notes" / "old" / "todo.txt").unlink()

    assert "Buy a lamp." in library("open", "todo.txt").stdout


@pytest.mark.parametrize(
    ("typed", "message", "hint"),
    [
        ("laese.md", "laese.md is not a document of the library.", "mean notes/lease.md"),
        ("zzz", "zzz is not a document of the library.", "gptoss-mlx library search"),
        (".md", ".md may be one of 2 documents.", "Name one: notes/a.md, notes/lease.md"),
    ],
)
def test_a_document_that_is_not_clear_is_an_error(
    typed: str, message: str, hint: str, folder: Path
) -> None:
    """The nearest ones are named."""
    (folder / "notes" / "a.md").write_text("text")
    library("add", "notes")
    done = library("open", typed)
    error, said = done.stderr.splitlines()

    assert (done.returncode, done.stdout) == (1, "")
    assert error == f"Error: {message}"
    assert hint in said


class OneArticle:
    """Stands for a ZIM archive."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def search(self, query: str, limit: int) -> list[Hit]:
        """The article, for every query."""
        return [Hit("A/Tea", "Tea", 0, 0, (), None, 9.0, 0, "Tea is hot.")]

    def text(self, name: str) -> Text:
        """The article."""
        if name != "A/Tea":
            raise DocumentNotFoundError(f"{name}: is not there.")
        return Text("Tea", ("Tea is hot.",))

    def has(self, name: str) -> bool:
        """Whether it is the article."""
        return name == "A/Tea"


def test_a_page_of_an_archive_is_named_as_it_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no path of its own."""
    module = SimpleNamespace(ZimArchive=OneArticle)
    monkeypatch.setitem(sys.modules, "gptoss_mlx.library.zim", module)
    (folder / "wiki.zim").write_bytes(b"ZIM")
    added = library("add", "wiki.zim").stderr

    assert added.startswith("wiki.zim: 0 documents, 1 ZIM archive, 0 passages, 0 skipped, ")
    assert "To search it: " in added
    assert library("list").stdout.startswith("wiki.zim  0 documents, 1 ZIM archive, ")
    assert library("search", "tea").stdout == "wiki.zim/A/Tea:1\n  1  Tea is hot.\n"
    assert library("open", "wiki.zim/A/Tea:1").stdout == ">1  Tea is hot.\n"
    assert library("open", "wiki.zim/A/Coffee").returncode == 1
