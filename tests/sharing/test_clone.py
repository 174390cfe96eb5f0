from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gptoss_mlx.sharing import clone


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="Linux's system call")
@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL])
def test_a_file_system_that_cannot_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Nothing is left, so that the file can be copied."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.ioctl", refuse)
    (tmp_path / "a").write_bytes(b"x")

    with (tmp_path / "a").open("rb") as file:
        assert not clone.clone_file(file.fileno(), tmp_path / "b")

    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_clone_has_the_same_bytes_or_is_not_made(tmp_path: Path) -> None:
    """Whichever this disk can do."""
    (tmp_path / "a").write_bytes(b"x" * 10_000)

    with (tmp_path / "a").open("rb") as file:
        made = clone.clone_file(file.fileno(), tmp_path / "b")

    assert (tmp_path / "b").exists() == made
    assert not made or (tmp_path / "b").read_bytes() == b"x" * 10_000
