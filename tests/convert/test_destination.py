"""Folders that a conversion cannot write."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from folders import digests
from small_conversion import convert

from gptoss_mlx.errors import (
    ConvertError,
    DestinationExistsError,
    NoPermissionError,
    NoSpaceError,
)


def test_a_destination_that_exists(source: Path, tmp_path: Path) -> None:
    """It is left as it was, and named."""
    (tmp_path / "out").mkdir()
    with pytest.raises(DestinationExistsError) as caught:
        convert(source, tmp_path / "out")

    assert str(caught.value) == (
        f"The destination must not exist, but {tmp_path / 'out'} does."
    )
    assert str(tmp_path / "out") in caught.value.hint
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_destination_that_was_converted_from_a_removed_source(
    source: Path, tmp_path: Path
) -> None:
    """After ``--consume`` it is the only copy: nobody is told to remove it."""
    (tmp_path / "out").mkdir()
    emptied = tmp_path / "emptied"
    emptied.mkdir()
    shutil.copy(source / "config.json", emptied)

    with pytest.raises(DestinationExistsError) as caught:
        convert(emptied, tmp_path / "out")

    assert "remove it" not in caught.value.hint
    assert caught.value.hint.endswith(f"gptoss-mlx verify {tmp_path / 'out'}")


@pytest.mark.parametrize("inside", [".", "inside", "original/inside"])
def test_a_destination_in_the_source(source: Path, inside: str) -> None:
    """The source's folder is not written to."""
    before = digests(source)
    with pytest.raises(ConvertError, match="must be outside"):
        convert(source, source / inside)

    assert digests(source) == before


def test_a_destination_that_says_it_is_unfinished(source: Path, tmp_path: Path) -> None:
    """No reader would open it."""
    with pytest.raises(ConvertError, match=r"must not end in \.partial"):
        convert(source, tmp_path / "out.partial")


def test_a_disk_that_would_be_full(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before anything is written, with both numbers."""
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(NoSpaceError) as caught:
        convert(source, tmp_path / "out", recipe="exact")

    # 1.52 MB of tensors and a MiB for the small files
    assert str(caught.value) == (f"{tmp_path} must have 2.6 MB free but has 1.0 MB.")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_must_not_be_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the path."""

    def refuse(path: Path, *rest: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(NoPermissionError) as caught:
        convert(source, tmp_path / "out")

    assert str(caught.value) == f"{tmp_path / 'out.partial'}: Permission denied."
    assert caught.value.hint == "Change the permissions, or name another folder."
