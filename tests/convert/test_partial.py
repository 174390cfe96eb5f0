from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gptoss_mlx.convert.journal import Journal
from gptoss_mlx.convert.partial import (
    claim_partial,
    clear_finished,
    finish_partial,
    partial_of,
)
from gptoss_mlx.convert.writer import write_file
from gptoss_mlx.errors import ConvertError, DestinationExistsError, StorageError


def link_to_a_device(path: Path) -> None:
    """Make a link to what has no end."""
    path.symlink_to("/dev/zero")


def test_two_conversions_to_one_destination(tmp_path: Path) -> None:
    """The second is refused while the first one writes, and not after it."""
    destination = tmp_path / "out"
    with (
        claim_partial(destination),
        pytest.raises(ConvertError, match=r"is being written by another process\."),
        claim_partial(destination),
    ):
        pass
    with claim_partial(destination) as partial:
        assert partial == tmp_path / "out.partial"


@pytest.mark.parametrize("name", ["ENOTSUP", "EOPNOTSUPP", "ENOLCK", "ENOSYS", "EINVAL"])
def test_a_disk_without_locks(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network disks refuse one: the conversion goes on without."""

    def refuse(descriptor: int, operation: int) -> None:
        number = getattr(errno, name)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with claim_partial(tmp_path / "out") as partial:
        Journal(partial, {}, {}, print)
        finish_partial(partial, tmp_path / "out")

    assert (tmp_path / "out").is_dir()


def test_a_disk_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another refusal of the lock is not passed over."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StorageError), claim_partial(tmp_path / "out"):
        pass


def test_one_that_waited_for_the_other_to_end(tmp_path: Path) -> None:
    """Finding the destination there, it is refused, and leaves nothing behind."""
    destination = tmp_path / "out"
    destination.mkdir()
    with pytest.raises(DestinationExistsError), claim_partial(destination):
        pass

    assert list(tmp_path.iterdir()) == [destination]


def test_a_finished_folder_has_no_lock_and_no_journal(tmp_path: Path) -> None:
    """It is renamed, with what was in it."""
    with claim_partial(tmp_path / "out") as partial:
        Journal(partial, {}, {}, print)
        (partial / "config.json").write_text("{}")
        finish_partial(partial, tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def test_a_destination_that_came_to_be_in_the_meantime(tmp_path: Path) -> None:
    """It is not replaced."""
    with claim_partial(tmp_path / "out") as partial:
        Journal(partial, {}, {}, print)
        (tmp_path / "out").write_text("precious")
        with pytest.raises(DestinationExistsError):
            finish_partial(partial, tmp_path / "out")

    assert (tmp_path / "out").read_text() == "precious"


def test_a_folder_of_that_name_that_is_not_ours(tmp_path: Path) -> None:
    """Nothing in it is changed."""
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.txt").write_text("precious")
    with (
        pytest.raises(ConvertError, match="has no journal"),
        claim_partial(tmp_path / "out"),
    ):
        pass

    (left,) = (tmp_path / "out.partial").iterdir()
    assert left.read_text() == "precious"


KEY = {"recipe": "q8"}
# Two files without a tensor.
FILES: dict[str, list[str]] = {"a": [], "b": []}


@pytest.mark.parametrize("damage", ["shorter", "gone", "a link"])
def test_a_recorded_file_that_is_no_longer_whole(tmp_path: Path, damage: str) -> None:
    """It is written again."""
    with claim_partial(tmp_path / "out") as partial:
        journal = Journal(partial, KEY, FILES, print)
        for name in ("a", "b"):
            journal.record(name, write_file(partial / name, b"content"))
        if damage == "gone":
            (partial / "a").unlink()
        elif damage == "a link":
            (partial / "a").rename(tmp_path / "content")
            (partial / "a").symlink_to(tmp_path / "content")
        else:
            (partial / "a").write_bytes(b"cont")

        assert list(Journal(partial, KEY, FILES, print).files) == ["b"]
        assert not (partial / "a").exists()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"key": 1}', "\0", "[" * 100_000, '{"key": 1' + "0" * 5_000]
)
def test_a_journal_that_is_none(tmp_path: Path, content: str) -> None:
    """None of its entries are used."""
    with claim_partial(tmp_path / "out") as partial:
        (partial / ".journal.json").write_text(content)
        (partial / "a").write_text("content")
        notices: list[str] = []

        assert Journal(partial, KEY, FILES, notices.append).files == {}
        assert not (partial / "a").exists()
        assert notices[0].startswith("Starting over: ")
        assert json.loads((partial / ".journal.json").read_text())["files"] == {}


@pytest.mark.parametrize("make", [os.mkfifo, link_to_a_device])
def test_a_journal_that_has_no_end(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """It is replaced by one, and not read."""
    with claim_partial(tmp_path / "out") as partial:
        make(partial / ".journal.json")

        assert Journal(partial, KEY, FILES, print).files == {}
        assert not (partial / ".journal.json").is_symlink()
        assert json.loads((partial / ".journal.json").read_text())["files"] == {}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        {"nbytes": 7},
        {"nbytes": 7.0, "sha256": "0", "tensors": {}},
        {"nbytes": True, "sha256": "0", "tensors": {}},
        {"nbytes": 7, "sha256": 0, "tensors": {}},
        {"nbytes": 7, "sha256": "0", "tensors": []},
        {"nbytes": 7, "sha256": "0", "tensors": {"x": "0"}},
        {"nbytes": 7, "sha256": "0", "tensors": {}, "more": 1},
        {"nbytes": 10**4_000, "sha256": "0", "tensors": {}},
    ],
)
def test_a_journal_with_an_entry_that_nobody_wrote(tmp_path: Path, entry: object) -> None:
    """The file is written again."""
    with claim_partial(tmp_path / "out") as partial:
        journal = {"key": KEY, "files": {"a": entry}}
        (partial / ".journal.json").write_text(json.dumps(journal))
        (partial / "a").write_text("content")

        assert Journal(partial, KEY, FILES, print).files == {}
        assert not (partial / "a").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "../thesis.txt", "", "x/\0"])
def test_a_journal_that_names_another_file(tmp_path: Path, name: str) -> None:
    """It is none that the conversion writes, so nothing of it is in the output."""
    (tmp_path / "thesis.txt").write_text("content")
    with claim_partial(tmp_path / "out") as partial:
        entry = {"nbytes": 7, "sha256": "0", "tensors": {}}
        journal = {"key": KEY, "files": {name: entry}}
        (partial / ".journal.json").write_text(json.dumps(journal))
        (partial / "thesis.txt").write_text("content")

        assert Journal(partial, KEY, FILES, print).files == {}
        assert not (partial / "thesis.txt").exists()
    assert (tmp_path / "thesis.txt").read_text() == "content"


def test_a_link_in_what_an_earlier_run_left(tmp_path: Path) -> None:
    """It is removed, and what it points to stays."""
    (tmp_path / "precious").mkdir()
    with claim_partial(tmp_path / "out") as partial:
        (partial / ".journal.json").write_text("{}")
        for name in ("folder", ".journal.new"):
            (partial / name).symlink_to(tmp_path / "precious")
        Journal(partial, KEY, FILES, print)

        assert {path.name for path in partial.iterdir()} == {".lock", ".journal.json"}
    assert (tmp_path / "precious").is_dir()


def test_a_journal_that_was_only_drafted_is_taken_over(tmp_path: Path) -> None:
    """A disk that was full at the very beginning does not block the next run."""
    partial = partial_of(tmp_path / "out")
    partial.mkdir()
    (partial / ".journal.new").write_text("{")

    with claim_partial(tmp_path / "out") as claimed:
        assert claimed == partial


def test_one_that_was_killed_after_its_rename(tmp_path: Path) -> None:
    """What it has left in the folder goes; a lock of somebody else's stays."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        folder.mkdir()
        (folder / ".lock").touch()
        (folder / ".journal.json").write_text("{}")
    (ours / "manifest.json").write_text("{}")
    with (ours / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        clear_finished(ours)
        assert len(list(ours.iterdir())) == 3
    clear_finished(ours)
    clear_finished(other)

    assert [path.name for path in ours.iterdir()] == ["manifest.json"]
    assert len(list(other.iterdir())) == 2
