from __future__ import annotations

import errno
import fcntl
import os
import re
from pathlib import Path
from typing import Any

import pytest

from gptoss_mlx.convert.writer import sync_folder, write_file
from gptoss_mlx.errors import ConfigError, StorageError, WrongFileError
from gptoss_mlx.files import read_file, read_json_object, short, sync_file


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_pipe_or_folder_is_no_json_file(make: Any, tmp_path: Path) -> None:
    """It is refused at once, where opening a pipe would wait for ever."""
    path = tmp_path / "some.json"
    make(path)
    with pytest.raises(ConfigError) as caught:
        read_json_object(path)

    assert str(caught.value) == f"{path}: is not a file."


def test_a_missing_json_file_is_a_storage_error(tmp_path: Path) -> None:
    """The error has the system's reason and the path."""
    path = tmp_path / "some.json"

    with pytest.raises(StorageError, match=f"^{re.escape(str(path))}: No such file"):
        read_json_object(path)


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")]
)
def test_what_is_no_file_is_never_read(make: Any, tmp_path: Path) -> None:
    """A pipe would block, and a device has no end."""
    path = tmp_path / "some.json"
    make(path)

    with pytest.raises(WrongFileError, match="is not a file"):
        read_file(path, max_bytes=100)


def test_a_file_that_became_a_pipe_while_it_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at again once it is open."""
    pipe, path = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    path.touch()
    really_open = os.open
    monkeypatch.setattr(os, "open", lambda _, flags: really_open(pipe, flags))

    with pytest.raises(WrongFileError, match="is not a file"):
        read_file(path, max_bytes=100)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A terabyte of nothing is refused by its length."""
    path = tmp_path / "some.json"
    path.touch()
    os.truncate(path, 1 << 40)

    with pytest.raises(WrongFileError) as caught:
        read_file(path, max_bytes=100)
    assert str(caught.value) == (
        f"{path}: must have at most 100 bytes but has {1 << 40:,}."
    )
    with pytest.raises(ConfigError, match="must have at most 8,388,608 bytes"):
        read_json_object(path)


def test_a_file_of_the_most_bytes_is_read(tmp_path: Path) -> None:
    """The bound is the most that it may have."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)

    assert read_file(path, max_bytes=100) == b"x" * 100


def test_a_pointer_of_git_lfs_is_not_the_file(tmp_path: Path) -> None:
    """The hint is what fetches the file, for JSON too."""
    path = tmp_path / "config.json"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")

    for read in (lambda: read_file(path, max_bytes=200), lambda: read_json_object(path)):
        with pytest.raises(
            (WrongFileError, ConfigError), match="Git LFS pointer"
        ) as caught:
            read()
        assert caught.value.hint == "Fetch the file itself: git lfs pull"


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5_000, '{"a": ' * 50_000])
def test_json_that_python_cannot_hold(content: str, tmp_path: Path) -> None:
    """The message is about the depth or the digits."""
    path = tmp_path / "some.json"
    path.write_text(content)

    with pytest.raises(
        ConfigError, match=r"must be JSON: (it is nested|a number has too many digits)"
    ):
        read_json_object(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("a\nb", r"'a\nb'"),
        ("x" * 78, repr("x" * 78)),
        ("x" * 79, "'" + "x" * 76 + "..."),
        pytest.param(10**5_000, "something very large", id="10^5000"),
    ],
)
def test_a_value_in_a_message_is_short(value: object, text: str) -> None:
    """It is escaped, on one line, and at most 80 characters long."""
    assert short(value) == text


def syncs(
    monkeypatch: pytest.MonkeyPatch, *, full: bool, refusal: int | None = None
) -> list[str]:
    """What is asked of the system from now on, on a Mac (``full``) or elsewhere.

    Args:
        refusal: The errno with which F_FULLFSYNC is refused.
    """
    asked: list[str] = []

    def control(descriptor: int, command: int) -> int:
        asked.append("F_FULLFSYNC" if command == 51 else str(command))
        if refusal is not None:
            raise OSError(refusal, os.strerror(refusal))
        return 0

    monkeypatch.delattr(fcntl, "F_FULLFSYNC", raising=False)
    if full:
        monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("fsync"))
    return asked


@pytest.mark.parametrize(
    ("full", "refusal", "expected"),
    [
        (False, None, ["fsync"]),
        (True, None, ["F_FULLFSYNC"]),
        (True, errno.ENOTSUP, ["F_FULLFSYNC", "fsync"]),
        (True, errno.EINVAL, ["F_FULLFSYNC", "fsync"]),
        (True, errno.ENOTTY, ["F_FULLFSYNC", "fsync"]),
    ],
)
def test_what_is_written_survives_a_power_cut(
    full: bool,
    refusal: int | None,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On macOS it also flushes the drive's cache; on a disk that cannot, fsync is used."""
    asked = syncs(monkeypatch, full=full, refusal=refusal)
    with (tmp_path / "file").open("wb") as file:
        sync_file(file.fileno())

    assert asked == expected


def test_a_disk_that_fails_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the data did not arrive, a later fsync cannot repair that."""
    asked = syncs(monkeypatch, full=True, refusal=errno.EIO)
    with pytest.raises(StorageError, match="Input/output error"):
        write_file(tmp_path / "file", b"content")

    assert asked == ["F_FULLFSYNC"]


def test_folders_are_brought_to_the_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They contain the files' names."""
    asked = syncs(monkeypatch, full=True)
    sync_folder(tmp_path)

    assert asked == ["F_FULLFSYNC"]
