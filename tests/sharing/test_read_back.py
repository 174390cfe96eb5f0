from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptoss_mlx.sharing import read_back


def test_a_file_is_read_back_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system is asked to; where it refuses, the bytes are read all the same."""
    asked: list[int] = []
    monkeypatch.setattr(read_back, "bypass_cache", asked.append)
    (tmp_path / "a").write_bytes(b"abc")

    digest = read_back.hash_from_disk(tmp_path / "a", lambda nbytes: None)

    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len(asked) == 1
    monkeypatch.undo()
    reading, writing = os.pipe()
    read_back.bypass_cache(reading)
    os.close(reading)
    os.close(writing)
