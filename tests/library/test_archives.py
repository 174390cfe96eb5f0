from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_zim import write_zim

from gptoss_mlx.errors import DocumentNotFoundError, UnreadableDocumentError
from gptoss_mlx.library.index import Hit
from gptoss_mlx.library.library import Library
from gptoss_mlx.library.text import Text


class TwoArticles:
    """Stands for a ZIM archive."""

    def __init__(self, path: Path) -> None:
        if path.stat().st_size == 0:
            raise UnreadableDocumentError(path, "is no ZIM archive")

    def search(self, query: str, limit: int) -> list[Hit]:
        """Both, for every query."""
        hits = [Hit(f"A/{n}", n, 0, 0, (), None, 9.0, 0, query) for n in ("Kettle", "Tea")]
        return hits[:limit]

    def text(self, name: str) -> Text:
        """One of them."""
        if not self.has(name):
            raise DocumentNotFoundError(f"{name}: is not there.")
        return Text(name, ("About it",))

    def has(self, name: str) -> bool:
        """Whether it is one of them."""
        return name in ("A/Kettle", "A/Tea")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A library of a folder with one document, and an archive."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    module = SimpleNamespace(ZimArchive=TwoArticles)
    monkeypatch.setitem(sys.modules, "gptoss_mlx.library.zim", module)
    (tmp_path / "wiki.zim").write_bytes(b"ZIM")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "tea.md").write_text("Tea from a kettle, see [it](wiki.zim)")
    return Library(tmp_path / "notes", tmp_path / "wiki.zim")


def test_an_archive_is_searched_with_the_rest(library: Library) -> None:
    """By rank, under the label of the archive."""
    assert [hit.name for hit in library.search("kettle")] == [
        "notes/tea.md",
        "wiki.zim/A/Kettle",
        "wiki.zim/A/Tea",
    ]
    assert len(library.search("kettle", 2)) == 2
    library.close()


def test_the_documents_of_an_archive(library: Library, tmp_path: Path) -> None:
    """They are shown and linked, and not listed; their file is the archive."""
    assert library.text("wiki.zim/A/Tea").title == "A/Tea"
    assert library.path_of("wiki.zim/A/Tea") == tmp_path / "wiki.zim"
    assert library.linked("wiki.zim/A/Tea", "Kettle#use") == "wiki.zim/A/Kettle"
    assert library.linked("wiki.zim/A/Tea", "Coffee") is None
    assert library.names() == ["notes/tea.md"]
    for name in ("wiki.zim/A/Coffee", "wiki.zim"):
        with pytest.raises(DocumentNotFoundError):
            library.text(name)
    library.close()


def test_an_archive_that_cannot_be_read(library: Library, tmp_path: Path) -> None:
    """It is listed with the reason, and the rest is searched."""
    (tmp_path / "wiki.zim").write_bytes(b"")
    with Library(name=library.name) as again:
        assert again.skipped() == [(tmp_path / "wiki.zim", "is no ZIM archive")]
        assert [hit.name for hit in again.search("kettle")] == ["notes/tea.md"]
        (tmp_path / "wiki.zim").write_bytes(b"ZIM")
        again.update()
        assert again.skipped() == []
    library.close()


def test_a_real_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its articles are found, shown and linked under its label."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    tea = "<html><title>Tea</title><p>Water from a <a href='Kettle'>kettle</a>.</html>"
    kettle = "<html><title>Kettle</title><p>It boils water.</html>"
    items = [("Tea", "Tea", "text/html", tea), ("Kettle", "Kettle", "text/html", kettle)]
    write_zim(tmp_path / "wiki.zim", items)
    (tmp_path / "notes.txt").write_text("The kettle is loud.")

    with Library(tmp_path / "wiki.zim", tmp_path / "notes.txt") as library:
        names = [hit.name for hit in library.search("kettle")]
        assert sorted(names) == ["notes.txt", "wiki.zim/Kettle", "wiki.zim/Tea"]
        text = library.text("wiki.zim/Tea")
        assert library.linked("wiki.zim/Tea", text.links[0].target) == "wiki.zim/Kettle"
        assert library.skipped() == []
