from __future__ import annotations

import errno
import fcntl
import os
import random
from pathlib import Path

import pytest

from gptoss_mlx.convert import direct_file
from gptoss_mlx.convert.direct_file import DirectFile


def write(path: Path, pieces: list[bytes]) -> int:
    """Write the pieces; return the length that the file tells of itself."""
    with DirectFile(path) as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        nbytes: int = file.nbytes
    return nbytes


@pytest.mark.parametrize("buffer_bytes", [8_192, 4 << 20])
def test_pieces_of_any_length_are_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer_bytes: int
) -> None:
    """In their order, whether or not they end at a block or a buffer."""
    monkeypatch.setattr(direct_file, "BUFFER_BYTES", buffer_bytes)
    source = random.Random(0)
    for lengths in ([], [0], [1], [4_096], [8_192], [8_193], [3, 4_093, 8_192, 20_000]):
        pieces = [source.randbytes(length) for length in lengths]
        whole = b"".join(pieces)

        assert write(tmp_path / "x", pieces) == len(whole)
        assert (tmp_path / "x").read_bytes() == whole


def test_a_longer_file_is_replaced(tmp_path: Path) -> None:
    """Nothing of it stays."""
    (tmp_path / "x").write_bytes(bytes(100_000))
    write(tmp_path / "x", [b"short"])

    assert (tmp_path / "x").read_bytes() == b"short"


def test_short_writes_are_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also past the end of a block, where Linux must use the page cache."""
    really_write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, b, at: really_write(fd, b[:5_000], at))
    content = random.Random(1).randbytes(30_000)
    write(tmp_path / "x", [content])

    assert (tmp_path / "x").read_bytes() == content


@pytest.mark.parametrize("refused", ["at once", "at the first write"])
def test_a_file_system_that_needs_its_page_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """Older ones refuse the flag, and those with larger blocks the write."""
    flag = getattr(os, "O_DIRECT", 0)
    really_write, really_control = os.pwrite, fcntl.fcntl

    def control(descriptor: int, command: int, value: int = 0) -> int:
        if command == fcntl.F_SETFL and value & flag and refused == "at once":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return really_control(descriptor, command, value)

    def pwrite(descriptor: int, content: memoryview, offset: int) -> int:
        if flag and really_control(descriptor, fcntl.F_GETFL) & flag:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return really_write(descriptor, content, offset)

    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "pwrite", pwrite)
    write(tmp_path / "x", [b"a" * 10_000])

    assert (tmp_path / "x").read_bytes() == b"a" * 10_000


def test_an_error_of_an_earlier_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is raised with a later one, or at the end: never lost."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "x", [b"x"])
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "x", [bytes(20 << 20)])
