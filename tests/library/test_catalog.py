from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptoss_mlx.errors import LibraryNotFoundError, StorageError
from gptoss_mlx.library import catalog
from gptoss_mlx.library.catalog import Root


@pytest.fixture(autouse=True)
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the libraries, not made yet."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "library"


def test_nothing_is_made_by_looking(libraries: Path) -> None:
    """Without libraries there is no folder of them."""
    assert catalog.names() == []
    assert catalog.find([Path("/a")]) is None
    with pytest.raises(LibraryNotFoundError, match="There is no library 'a'"):
        catalog.roots_of("a")
    assert not libraries.exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/ada/Notes of mine", "Notes-of-mine"),
        ("/", "library"),
        ("/x/...", "library"),
        ("/x/.config", "config"),
        ("/x/日本語", "日本語"),
        ("/x/a:b*c?", "a-b-c"),
        ("/x/caf\udce9", "caf"),
        ("/x/mu\u0308de", "m\u00fcde"),
        ("/x/" + "y" * 200, "y" * 60),
    ],
)
def test_a_name_is_made_of_a_path(path: str, name: str) -> None:
    """It is safe as a folder's, and leads to the library again."""
    assert catalog.make([Path(path)]) == name
    assert catalog.make([Path(path)]) == name
    assert catalog.roots_of(name)[0].path == Path(path)
    assert catalog.names() == [name]


def test_names_and_labels_are_free_ones() -> None:
    """Two folders of one name get two names, also where case does not count."""
    names = [catalog.make([Path(path)]) for path in ("/a/docs", "/b/Docs", "/c/docs")]
    roots = catalog.with_labels(map(Path, ("/a/docs", "/b/docs", "/a/docs", "/c/docs-2")))

    assert names == ["docs", "Docs-2", "docs-3"]
    assert [root.label for root in roots] == ["docs", "docs-2", "docs-2-2"]


def test_roots_with_bytes_that_are_no_utf8() -> None:
    """They are stored as they are."""
    roots = (Root("caf", Path("/x/caf\udce9")), Root("b", Path('/"\n')))
    name = catalog.make([Path("/x")])
    catalog.save_roots(name, roots)

    assert catalog.roots_of(name) == roots


@pytest.mark.parametrize("content", ["", "[]", '{"roots": 1}', '{"roots": [{"label": 1}]}'])
def test_a_list_of_roots_that_is_damaged(libraries: Path, content: str) -> None:
    """It is named, and the library can be removed."""
    name = catalog.make([Path("/x/docs")])
    (libraries / name / "library.json").write_text(content)

    with pytest.raises(StorageError, match=r"library\.json") as caught:
        catalog.roots_of(name)
    assert caught.value.hint == "Remove the library: gptoss-mlx library remove docs"
    assert catalog.make([Path("/x/others")]) == "others"
    catalog.remove(name)
    assert catalog.names() == ["others"]


def test_what_a_killed_program_leaves(libraries: Path) -> None:
    """A folder without its list is no library, and removed ones are cleaned up."""
    (libraries / "docs").mkdir(parents=True)
    (libraries / ".removed-1234").mkdir()
    (libraries / ".removed-1234" / "index.db").touch()

    assert catalog.names() == []
    assert catalog.make([Path("/x/docs")]) == "docs"
    assert not (libraries / ".removed-1234").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_cannot_be_written(libraries: Path) -> None:
    """The hint names the variable."""
    libraries.parent.mkdir(0o555)

    with pytest.raises(StorageError) as caught:
        catalog.make([Path("/x/docs")])
    assert "GPTOSS_MLX_HOME" in caught.value.hint


def test_a_path_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links, "..", "~"; what is not there, or no name, has its error."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "docs").mkdir()
    (tmp_path / "link").symlink_to("docs")
    (tmp_path / "loop").symlink_to("loop")

    for path in (tmp_path / "link", "~/docs/../link", str(tmp_path / "docs")):
        assert catalog.resolved(path) == (tmp_path / "docs").resolve()
    for path in ("~/nothing", "a\0b", tmp_path / "loop", "x" * 300):
        with pytest.raises(StorageError):
            catalog.resolved(path)
