"""A source that changes while it is converted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_conversion import convert

from gptoss_mlx.errors import ConvertError, CorruptFileError, StorageError


def replaced(path: Path) -> None:
    """Put another file of the same size, and as old, there."""
    other, times = path.with_name("other"), path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def written_into(path: Path) -> None:
    """Change a byte of it."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


SMALL = ("config.json", "LICENSE", "generation_config.json")


@pytest.mark.parametrize("change", [replaced, written_into, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", *SMALL])
@pytest.mark.parametrize("at_end", [False, True])
def test_a_source_that_changes_while_it_is_converted(
    source: Path, tmp_path: Path, change: Callable[[Path], None], name: str, at_end: bool
) -> None:
    """One of the same size too: nothing is published, and the next run starts anew."""
    released = tmp_path / "released"
    shutil.copytree(source, released)
    for small in SMALL[1:]:
        (released / small).write_text("{}")
    moments = iter([at_end])

    def progress(done: int, total: int) -> None:
        if (done == total) == at_end and next(moments, None) is not None:
            change(released / name)

    with pytest.raises((ConvertError, CorruptFileError, StorageError), match=name):
        convert(released, tmp_path / "out", progress=progress)

    assert not (tmp_path / "out").exists()
    shutil.rmtree(released)
    shutil.copytree(source, released)
    convert(released, tmp_path / "out")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["out", "released"]


def test_a_file_that_comes_to_be_while_it_is_converted(
    source: Path, tmp_path: Path
) -> None:
    """The source was not whole, so what was written of it is not either."""
    released = tmp_path / "released"
    shutil.copytree(source, released)

    def progress(done: int, total: int) -> None:
        (released / "chat_template.jinja").touch()

    with pytest.raises(ConvertError, match=r"chat_template\.jinja changed while it was"):
        convert(released, tmp_path / "out", progress=progress)
    assert not any(tmp_path.glob("out*"))
