from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_mlx.errors import NoPermissionError, UnreadableDocumentError
from gptoss_mlx.library import update as updating
from gptoss_mlx.library import walk as walking
from gptoss_mlx.library.catalog import Root
from gptoss_mlx.library.index import Index
from gptoss_mlx.library.library import Library
from gptoss_mlx.library.reading import read_document
from gptoss_mlx.library.text import Text
from gptoss_mlx.library.update import Progress, Update, update_index
from gptoss_mlx.library.walk import Found, walk


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An index without documents."""
    with Index(tmp_path / "index.db") as index:
        yield index


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A folder of three documents."""
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.txt", "b.txt", "sub/c.txt"):
        (folder / name).write_text(f"kettle {name}\n")
    return Root("docs", folder)


def counts(update: Update) -> tuple[int, int, int, int, int]:
    """What was done, in numbers."""
    return (
        update.added,
        update.changed,
        update.removed,
        update.skipped,
        update.unchanged,
    )


def test_only_what_has_changed_is_read(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By size, time or inode; one with the same of all is not opened."""
    assert counts(update_index(index, [root])) == (3, 0, 0, 0, 0)
    read: list[str] = []

    def noted(path: Path, *, max_bytes: int) -> Text:
        read.append(path.name)
        return read_document(path, max_bytes=max_bytes)

    monkeypatch.setattr(updating, "read_document", noted)
    assert counts(update_index(index, [root])) == (0, 0, 0, 0, 3)
    assert read == []

    status = (root.path / "a.txt").stat()
    (root.path / "a.txt").write_text("teapot\n")
    os.utime(root.path / "b.txt", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    (root.path / "new").write_text("kettle sub/c.txt\n")
    old = (root.path / "sub" / "c.txt").stat()
    os.utime(root.path / "new", ns=(old.st_atime_ns, old.st_mtime_ns))
    (root.path / "new").replace(root.path / "sub" / "c.txt")

    assert counts(update_index(index, [root])) == (0, 3, 0, 0, 0)
    assert sorted(read) == ["a.txt", "b.txt", "c.txt"]
    assert [hit.name for hit in index.search("teapot")] == ["docs/a.txt"]


def test_a_file_that_changes_while_it_is_read(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read again the next time."""

    def changing(path: Path, *, max_bytes: int) -> Text:
        text = read_document(path, max_bytes=max_bytes)
        if path.name == "a.txt":
            path.write_text("a teapot at last\n")
        return text

    monkeypatch.setattr(updating, "read_document", changing)
    update_index(index, [root])
    monkeypatch.undo()

    assert counts(update_index(index, [root])) == (0, 1, 0, 0, 2)
    assert [hit.name for hit in index.search("teapot")] == ["docs/a.txt"]


def test_what_cannot_be_read_is_listed_with_the_reason(index: Index, root: Root) -> None:
    """It is not opened again until it changes."""
    (root.path / "b.txt").write_bytes(b"\0" * 100)
    (root.path / "old.rtf").write_bytes(rb"{\rtf1 text}")

    assert counts(update_index(index, [root])) == (2, 0, 0, 2, 0)
    assert index.files.skipped() == [
        ("docs", "b.txt", "a binary file"),
        ("docs", "old.rtf", "RTF is not supported yet"),
    ]
    assert counts(update_index(index, [root])) == (0, 0, 0, 2, 2)
    (root.path / "b.txt").write_text("kettle")
    assert counts(update_index(index, [root])) == (1, 0, 0, 1, 2)
    (root.path / "b.txt").write_bytes(b"\0" * 100)
    assert counts(update_index(index, [root])) == (0, 0, 1, 2, 2)
    (root.path / "b.txt").unlink()
    assert counts(update_index(index, [root])) == (0, 0, 0, 1, 2)


def test_what_was_skipped_is_tried_again_when_it_may_be_read(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another limit or reader, and always after an error of the system."""
    assert counts(update_index(index, [root], max_bytes=4)) == (0, 0, 0, 3, 0)
    assert index.files.skipped()[0] == ("docs", "a.txt", "over 4 bytes")
    assert counts(update_index(index, [root])) == (3, 0, 0, 0, 0)

    def refuse(path: Path, *, max_bytes: int) -> Text:
        if path.name == "a.txt":
            raise UnreadableDocumentError(path, "needs lxml")
        try:
            raise PermissionError(13, "Permission denied", str(path))
        except OSError as error:
            raise NoPermissionError(f"{path}: Permission denied.") from error

    for name in ("a.txt", "b.txt"):
        (root.path / name).write_text("changed")
    monkeypatch.setattr(updating, "read_document", refuse)
    assert counts(update_index(index, [root])) == (0, 0, 2, 2, 1)
    assert [reason for _, _, reason in index.files.skipped()] == [
        "needs lxml",
        "cannot be read: permission denied",
    ]
    monkeypatch.undo()
    assert counts(update_index(index, [root])) == (1, 0, 0, 1, 1)
    monkeypatch.setattr(updating, "__version__", "another")
    assert counts(update_index(index, [root])) == (1, 0, 0, 0, 2)


def test_a_root_that_is_gone_keeps_its_documents(index: Index, root: Root) -> None:
    """It may be on a disk that is not plugged in. The other roots are updated."""
    other = Root("other", root.path.with_name("other"))
    other.path.mkdir()
    update_index(index, [root, other])
    moved = root.path.rename(root.path.with_name("moved"))
    (other.path / "d.txt").write_text("kettle")

    update = update_index(index, [root, other])

    assert counts(update) == (1, 0, 0, 0, 0)
    assert update.missing == {root.path: "cannot be read: no such file or directory"}
    assert len(index.names()) == 4
    moved.rename(root.path)
    assert counts(update_index(index, [root, other])) == (0, 0, 0, 0, 4)


def test_what_is_gone_when_it_is_to_be_read(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file leaves the index; a whole root keeps its documents."""
    update_index(index, [root])
    for name in ("a.txt", "b.txt"):
        (root.path / name).write_text("changed")

    def removing(folder: Path, without: set[Path]) -> list[Found]:
        found = list(walk(folder, without))
        (folder / "a.txt").unlink()
        return found

    monkeypatch.setattr(updating, "walk", removing)
    assert counts(update_index(index, [root])) == (0, 1, 1, 0, 1)

    (root.path / "b.txt").write_text("changed again")

    def unplugging(folder: Path, without: set[Path]) -> list[Found]:
        found = list(walk(folder, without))
        folder.rename(folder.with_name("unplugged"))
        return found

    monkeypatch.setattr(updating, "walk", unplugging)
    update = update_index(index, [root])
    assert counts(update) == (0, 0, 0, 0, 1)
    assert list(update.missing) == [root.path]
    assert index.names() == ["docs/b.txt", "docs/sub/c.txt"]


def test_an_empty_folder_where_a_disk_was(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is on another disk, so it is not the root; an empty root is."""
    update_index(index, [root])
    shutil.rmtree(root.path)
    root.path.mkdir()
    with index.transaction():
        index.files.finish("docs", "another")

    update = update_index(index, [root])

    assert len(index.names()) == 3
    assert update.missing == {root.path: "is empty, and on another disk than before"}
    with index.transaction():
        index.files.finish("docs", str(root.path.stat().st_dev))
    assert counts(update_index(index, [root])) == (0, 0, 3, 0, 0)


def test_a_folder_that_cannot_be_listed_keeps_its_documents(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed as skipped, until it can be listed again."""
    (root.path / "sub2").mkdir()
    (root.path / "sub2" / "d.txt").write_text("kettle")
    update_index(index, [root])
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert counts(update_index(index, [root])) == (0, 0, 0, 1, 4)
    monkeypatch.undo()
    assert counts(update_index(index, [root])) == (0, 0, 0, 0, 4)


def test_a_file_that_went_to_icloud_keeps_its_document(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its content is as it was; a new one there is skipped."""
    update_index(index, [root])
    (root.path / "new.txt").write_text("kettle")
    monkeypatch.setattr(
        walking, "is_placeholder", lambda name, _: name in ("a.txt", "new.txt")
    )

    assert counts(update_index(index, [root])) == (0, 0, 0, 1, 3)
    assert "docs/a.txt" in index.names()


def test_a_root_that_is_no_longer_one(index: Index, root: Root) -> None:
    """Its documents leave the index; those of another with the same label are its own."""
    update_index(index, [root])
    other = root.path.with_name("other")
    shutil.copytree(root.path, other)
    (other / "a.txt").unlink()

    assert counts(update_index(index, [Root("docs", other)])) == (0, 2, 1, 0, 0)
    assert counts(update_index(index, [])) == (0, 0, 2, 0, 0)
    assert index.files.labels() == set()


def test_strange_names(index: Index, root: Root) -> None:
    """NFC, and escapes for bytes that are no UTF-8; each document has its own."""
    names = ["caf\u00e9.txt", "x\n\x1b[31m.txt"]
    if sys.platform != "darwin":
        names += [unicodedata.normalize("NFD", names[0]), "caf\udce9.txt", "caf\\udce9.txt"]
    for name in names:
        (root.path / name).write_text(f"kettle {name!r}")

    for _ in range(2):
        update_index(index, [root])
        found = {hit.name for hit in index.search("kettle", 20)}
        assert found == set(index.names())
        assert len(found) == 3 + len(names)
        assert "docs/caf\u00e9.txt" in found
        for name in found:
            name.encode()
            assert unicodedata.is_normalized("NFC", name)
            label, path = index.files.named(name) or ("", "")
            text = index.text(name)
            assert repr(path) in text.lines[0] or path.endswith(text.lines[0][7:])
            assert label == "docs"
    assert counts(update_index(index, [root])) == (0, 0, 0, 0, 3 + len(names))


def test_a_file_that_becomes_a_link(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the walk and the reading: what it leads to is not read."""
    outside = root.path.with_name("outside")
    outside.mkdir()
    (outside / "c.txt").write_text("secret")

    def replacing(folder: Path, without: set[Path]) -> list[Found]:
        found = list(walk(folder, without))
        shutil.rmtree(root.path / "sub")
        (root.path / "sub").symlink_to(outside)
        return found

    monkeypatch.setattr(updating, "walk", replacing)

    assert counts(update_index(index, [root])) == (2, 0, 0, 1, 0)
    assert index.search("secret") == []


def test_progress_is_told_in_files_and_bytes(index: Index, root: Root) -> None:
    """Before each file, and at the end."""
    told: list[Progress] = []

    update_index(index, [root], progress=told.append)

    assert [each.files for each in told] == [0, 1, 2, 3]
    assert {each.total_files for each in told} == {3}
    assert told[-1].nbytes == told[-1].total_bytes == 13 + 13 + 17


def test_progress_within_a_long_file(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told in bytes, about as many as are read."""
    monkeypatch.setattr(updating, "_TOLD_SECONDS", 0)
    (root.path / "long.txt").write_text("some words in a line\n" * 2_000)
    told: list[Progress] = []

    update_index(index, [root], progress=told.append)

    nbytes = [each.nbytes for each in told if each.files == 2]
    assert len(nbytes) > 10
    assert nbytes == sorted(nbytes)
    assert told[-1].nbytes * 0.9 < nbytes[-1] < told[-1].nbytes


def test_terms_of_removed_documents_leave_the_vocabulary(
    index: Index, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When many were removed; the rest is found by its parts as before."""
    monkeypatch.setattr(updating, "_MANY", 2)
    (root.path / "a.txt").write_text("Mietvertragsunterlagen teapot")
    update_index(index, [root])
    assert index.search("unterlagen")
    for name in ("a.txt", "b.txt"):
        (root.path / name).write_text("Wasserkesselgriff")
    update_index(index, [root])

    rows = index._database.execute("SELECT term FROM vocabulary").fetchall()
    assert sorted(term for (term,) in rows) == ["kettl", "wasserkesselgriff"]
    index._database.execute(
        "INSERT INTO trigrams (trigrams, rank) VALUES ('integrity-check', 1)"
    )
    assert [hit.name for hit in index.search("kessel")] == ["docs/a.txt", "docs/b.txt"]
    assert index.search("unterlagen") == []


def test_what_was_read_is_kept_before_a_large_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading that takes long, and the program may be killed meanwhile."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("small")
    (folder / "b.txt").write_text("large " * 1000)
    kept = {}

    def read(path: Path, **limits: int) -> Text:
        with Library(name="docs", update=False) as library:
            kept[path.name] = library.names()
        return read_document(path, **limits)

    monkeypatch.setattr(updating, "_LARGE_BYTES", 1000)
    monkeypatch.setattr(updating, "read_document", read)
    Library(folder).close()

    assert kept == {"a.txt": [], "b.txt": ["docs/a.txt"]}
