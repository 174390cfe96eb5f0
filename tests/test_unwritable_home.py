"""A home that cannot be written: a read-only disk, or the wrong GPTOSS_MLX_HOME."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.doctor import examine as doctor
from gptoss_mlx.doctor.examine import examine
from gptoss_mlx.doctor.inspection import inspect_machine
from gptoss_mlx.doctor.layer import Case
from gptoss_mlx.doctor.report import Report
from gptoss_mlx.errors import StorageError

HINT = "Name a folder that can be written: export GPTOSS_MLX_HOME=FOLDER"


@pytest.fixture(params=["below a file", "read-only"])
def home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder in which nothing can be made."""
    home = tmp_path / "home"
    if request.param == "read-only":
        if os.geteuid() == 0:
            pytest.skip("root may write anywhere")
        home.mkdir(0o555)
    else:
        home.touch()
        home = home / "below"
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(home))
    return home


def test_the_demo_model_is_not_made_there(home: Path) -> None:
    """The hint names the variable."""
    with pytest.raises(StorageError, match="home") as caught:
        open_demo(lambda text: None)

    assert caught.value.hint == HINT


def test_chat_says_so_in_a_line(home: Path) -> None:
    """And what to do about it in another; there is no traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "gptoss_mlx", "chat", "demo"],
        input="What is gpt-oss?\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    error, hint = done.stderr.splitlines()[-2:]

    assert done.returncode == 1
    assert done.stdout == ""
    assert error.startswith("Error: ")
    assert str(home.parent) in error
    assert hint == f"Hint: {HINT}"


def test_doctor_tests_the_program_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a temporary folder, which goes; the report says what is wrong with the store."""
    places: list[Path] = []

    def report(checkpoint: Path, named: object, stage: object) -> Report:
        assert checkpoint.is_dir()
        places.append(checkpoint)
        return Report(inspect_machine(), (), (), (), (), (), 0, 1.0)

    def opened(say: object, parent: Path | None = None) -> Path:
        return parent if parent is not None else open_demo(print).folder

    monkeypatch.setattr(doctor, "_examine", report)
    monkeypatch.setattr(doctor, "open_demo", opened)
    found = examine(print)
    rows = dict(found.rows())

    assert not found.passed
    assert not places[0].exists()
    assert rows["store"].startswith("WRONG: ")
    assert rows["store"].endswith(" Set GPTOSS_MLX_HOME to a folder.")
    assert rows["verdict"] == "failed"


def test_a_home_that_is_a_file_is_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there is of the machine is told all the same."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "file"))
    found = inspect_machine()

    assert found.problem == f"{tmp_path / 'file'} is not a folder."
    assert found.home == str(tmp_path / "file")
    assert found.models == {}


@pytest.mark.slow
def test_doctor_prints_its_whole_report(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that it tests is right; the store alone is not."""
    monkeypatch.setattr(doctor, "CPU_CASES", (Case(0, 1),))
    monkeypatch.setattr(doctor, "GPU_CASES", (Case(0, 1),))
    report = examine(print)

    assert [name for name, value in report.rows() if value.startswith("WRONG")] == ["store"]
    assert report.tour
