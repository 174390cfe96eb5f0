from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from library_command import LEASE, library
from small_documents import DOCUMENTS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with documents in ``notes`` and a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    notes = tmp_path / "notes"
    (notes / "old").mkdir(parents=True)
    (tmp_path / "someone").mkdir()
    (notes / "lease.md").write_text(LEASE)
    (notes / "old" / "todo.txt").write_text("Buy a lamp.\nRead the heating meter.\n")
    (notes / "two.pdf").write_bytes(DOCUMENTS["a.pdf"])
    (notes / "x.bin").write_bytes(b"\0\1")
    return tmp_path


@pytest.fixture
def added(folder: Path) -> Path:
    """The folder, whose notes are in a library."""
    assert library("add", "notes").returncode == 0
    return folder


@pytest.fixture
def cannot_write() -> list[str]:
    """What a command begins with so that modes hold for it, even as root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write anywhere")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
