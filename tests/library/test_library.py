from __future__ import annotations

import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gptoss_mlx.errors import DocumentNotFoundError, LibraryNotFoundError, StorageError
from gptoss_mlx.library import catalog
from gptoss_mlx.library.library import Library


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without libraries."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of two documents."""
    folder = tmp_path / "notes"
    (folder / "flat").mkdir(parents=True)
    (folder / "flat" / "heating.md").write_text("# Heating\n\nThe boiler is old.\n")
    (folder / "dog.txt").write_text("The dog barks.\n")
    return folder


def test_a_folder_is_indexed_and_searched(notes: Path) -> None:
    """A hit has the document's name; its text and its file are found by that."""
    with Library(notes) as library:
        (hit,) = library.search("boilers")

        assert library.name == "notes"
        assert library.roots == (notes,)
        assert library.names() == ["notes/dog.txt", "notes/flat/heating.md"]
        assert hit.name == "notes/flat/heating.md"
        assert list(library.text(hit.name).lines) == ["# Heating", "", "The boiler is old."]
        assert library.path_of(hit.name) == notes / "flat" / "heating.md"


def test_a_library_is_found_again(notes: Path, home: Path) -> None:
    """By its name, or by its paths however they are written."""
    Library(notes).close()
    link = notes.parent / "link"
    link.symlink_to(notes)

    for again in (Library(link), Library(name="notes"), Library(f"{notes}/flat/..")):
        assert again.name == "notes"
        assert len(again.names()) == 2
        again.close()
    assert catalog.names() == ["notes"]


def test_another_folder_of_the_same_name(notes: Path, tmp_path: Path) -> None:
    """Its library has another name, and within one library its label has a number."""
    other = tmp_path / "other" / "notes"
    other.mkdir(parents=True)
    (other / "cat.txt").write_text("The cat sleeps.")
    Library(notes).close()

    with Library(other) as library:
        assert library.name == "notes-2"
    with Library(notes, other, name="both") as library:
        assert library.names() == [
            "notes-2/cat.txt",
            "notes/dog.txt",
            "notes/flat/heating.md",
        ]


def test_a_root_in_another_root(notes: Path) -> None:
    """No document is in the library twice."""
    with Library(notes, notes / "flat", notes / "dog.txt") as library:
        assert library.names() == ["dog.txt", "flat/heating.md"]
        library.remove(notes / "flat")
        assert library.names() == ["dog.txt", "notes/flat/heating.md"]


def test_an_update_reads_what_has_changed(notes: Path) -> None:
    """New, changed, removed and renamed files, and no others."""
    with Library(notes) as library:
        again = library.update()
        assert (again.added, again.changed, again.removed) == (0, 0, 0)
        assert again.unchanged == 2

        (notes / "dog.txt").write_text("The hound barks.\n")
        (notes / "flat").rename(notes / "house")
        (notes / "new.txt").write_text("A kettle.")
        update = library.update()

        assert (update.added, update.changed, update.removed) == (2, 1, 1)
        assert library.names() == [
            "notes/dog.txt",
            "notes/house/heating.md",
            "notes/new.txt",
        ]
        assert [hit.name for hit in library.search("hound")] == ["notes/dog.txt"]
        assert library.search("dog barks")[0].name == "notes/dog.txt"


def test_names_of_libraries_are_names_of_folders(notes: Path) -> None:
    """What is none is refused with a way out."""
    for name in ("", "..", "a/b", ".hidden", "x" * 61, "a\0b", "dot."):
        with pytest.raises(LibraryNotFoundError, match="must have up to 60"):
            Library(notes, name=name)
    with Library(notes, name="Müller & Söhne".replace("&", "und")) as library:
        assert library.name == "Müller und Söhne"


def test_what_is_not_there(notes: Path) -> None:
    """A library, a path and a document have each their error."""
    with pytest.raises(LibraryNotFoundError, match="no library 'tax'"):
        Library(name="tax")
    with pytest.raises(LibraryNotFoundError, match="path or a name"):
        Library()
    with pytest.raises(StorageError, match="nothing"):
        Library(notes / "nothing")
    with Library(notes) as library:
        for name in ("notes/nothing", "/etc/passwd", "notes/../dog.txt", "\udce9"):
            with pytest.raises(DocumentNotFoundError):
                library.text(name)
            with pytest.raises(DocumentNotFoundError):
                library.path_of(name)


def test_a_part_is_removed(notes: Path, tmp_path: Path) -> None:
    """Its documents leave the index, and stay on the disk."""
    single = tmp_path / "single.txt"
    single.write_text("A kettle.")
    with Library(notes, name="mine") as library:
        library.add(single)
        assert "single.txt" in library.names()
        library.remove(notes)

        assert library.names() == ["single.txt"]
        assert library.roots == (single,)
        assert (notes / "dog.txt").exists()
        with pytest.raises(LibraryNotFoundError, match="is not in the library"):
            library.remove(notes)


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("flat/heating.md", "notes/flat/heating.md"),
        ("./flat/../flat/heating.md#top", "notes/flat/heating.md"),
        ("/flat/heating", "notes/flat/heating.md"),
        ("flat/heat%69ng.md", "notes/flat/heating.md"),
        ("#there", "notes/dog.txt"),
        ("", "notes/dog.txt"),
        ("../dog.txt", None),
        ("../../../../etc/passwd", None),
        ("%2e%2e/secret", None),
        ("https://example.com/dog.txt", None),
        ("//example.com/dog.txt", None),
        ("mailto:a@b", None),
        ("file:///etc/passwd", None),
        ("http://[", None),
        ("cat.txt", None),
    ],
)
def test_a_link(notes: Path, target: str, leads_to: str | None) -> None:
    """It leads to a document of the same root, or nowhere."""
    with Library(notes) as library:
        assert library.linked("notes/dog.txt", target) == leads_to


def test_a_link_between_two_roots(notes: Path, tmp_path: Path) -> None:
    """It leads to what lies there, not to what is named like it."""
    near, far = tmp_path / "near", tmp_path / "far" / "gone"
    for folder in (near, far):
        folder.mkdir(parents=True)
        (folder / "cat.txt").write_text("The cat sleeps.")
    single = tmp_path / "kettle.txt"
    single.write_text("A kettle.")
    with Library(notes, near, far, single, name="all") as library:
        assert library.linked("notes/dog.txt", "../near/cat.txt") == "near/cat.txt"
        assert library.linked("notes/dog.txt", "../kettle.txt") == "kettle.txt"
        assert library.linked("kettle.txt", "near/cat.txt#x") == "near/cat.txt"
        assert library.linked("notes/dog.txt", "../gone/cat.txt") is None
        assert library.linked("notes/dog.txt", "/near/cat.txt") is None
        assert library.linked("nothing/dog.txt", "cat.txt") is None


def test_a_removed_library_is_gone(notes: Path, home: Path) -> None:
    """With its index, and not with the documents."""
    Library(notes).close()
    catalog.remove("notes")

    assert catalog.names() == []
    assert [path.name for path in (home / "library").iterdir()] == [".lock"]
    assert (notes / "dog.txt").exists()
    with pytest.raises(LibraryNotFoundError):
        catalog.remove("notes")


def test_a_root_that_the_programs_own_folder_is_in(notes: Path, home: Path) -> None:
    """That is left out, and a document beside it is not."""
    with Library(home.parent) as library:
        assert {name.split("/")[1] for name in library.names()} == {"notes"}
        assert library.skipped() == []
        assert library.update().unchanged == 2


def test_an_index_of_another_version(notes: Path) -> None:
    """It is emptied, which is said, and the next update reads all files again."""
    with Library(notes) as library:
        before = library.names()
        path = library.path / "index.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 1001")
    said: list[str] = []

    with Library(name="notes", update=False, say=said.append) as library:
        assert library.search("boiler") == []
        assert said == ["notes was not read to its end: gptoss-mlx library update"]
        assert library.update().added == 2
        assert library.names() == before
        assert library.search("boiler")


def test_a_removal_that_is_killed(notes: Path, tmp_path: Path) -> None:
    """The next update completes it."""
    single = tmp_path / "single.txt"
    single.write_text("A kettle.")
    with Library(notes, single, name="mine") as library:
        catalog.save_roots("mine", catalog.roots_of("mine")[1:])

    with Library(name="mine", update=False) as library:
        with pytest.raises(DocumentNotFoundError):
            library.path_of("notes/dog.txt")
        assert library.update().removed == 2
        assert library.names() == ["single.txt"]


def test_figures(notes: Path) -> None:
    """How much is in a library, also before it was read."""
    (notes / "picture.png").write_bytes(b"\0" * 100)
    with Library(notes, update=False) as library:
        assert library.figures()[:4] == (0, 0, 0, 0)
        assert library.figures().updated is None
        library.update()
        figures = library.figures()

    assert figures[:4] == (2, 2, 1, 30 + 15)
    assert figures.index_bytes > 4096
    assert figures.updated is not None
    assert abs(figures.updated - time.time()) < 60


def test_a_limit_of_bytes(notes: Path) -> None:
    """Larger files are listed with the limit."""
    with Library(notes, max_bytes=20) as library:
        assert library.names() == ["notes/dog.txt"]
        assert library.skipped() == [(notes / "flat" / "heating.md", "over 20 bytes")]


def test_a_root_that_is_unplugged(notes: Path) -> None:
    """It is said, and what was read of it is still there."""
    said: list[str] = []
    Library(notes).close()
    notes.rename(notes.with_name("moved"))

    with Library(name="notes", say=said.append) as library:
        assert library.search("boiler")
    assert said == [
        f"{notes} cannot be read: no such file or directory."
        " What was read of it earlier is kept."
    ]


def test_two_threads_share_a_library(notes: Path) -> None:
    """One searches while another updates."""
    with Library(notes) as library, ThreadPoolExecutor(4) as threads:
        jobs: list[Future[Any]] = []
        for number in range(20):
            (notes / "dog.txt").write_text(f"The dog barks{'!' * number}")
            jobs.append(threads.submit(library.search, "boiler"))
            jobs.append(threads.submit(library.update))
            jobs.append(threads.submit(library.text, "notes/flat/heating.md"))
        for job in jobs:
            job.result()
        library.update()
        assert library.text("notes/dog.txt").lines[0] == "The dog barks" + "!" * 19


def test_a_closed_library_says_so(tmp_path: Path) -> None:
    """In an error of the program, with the call that opens it again."""
    (tmp_path / "a.txt").write_text("kettle")
    library = Library(tmp_path / "a.txt")
    library.close()
    for use in (
        library.names,
        library.figures,
        library.skipped,
        lambda: library.search("kettle"),
        lambda: library.text("a.txt"),
    ):
        with pytest.raises(StorageError, match="was closed") as caught:
            use()
        assert caught.value.hint == "Open it again: Library(name='a.txt')"
