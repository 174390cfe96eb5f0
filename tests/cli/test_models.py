from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.cli.app import main
from gptoss_mlx.convert.pipeline import convert_checkpoint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a model, an unfinished one and a broken one of an odd name."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    models = tmp_path / "home" / "models"
    write_tiny_checkpoint(tmp_path / "tiny")
    convert_checkpoint(tmp_path / "tiny", models / "tiny-q8")
    (models / "x.partial").mkdir()
    (models / "a\x1b[2J").mkdir()
    return models


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run ``gptoss-mlx models``, and return what it exits with."""
    monkeypatch.setattr(sys, "argv", ["gptoss-mlx", "models", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return exit_info.value.code


def test_a_line_for_each_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unfinished and broken ones say so; control characters do not reach the terminal."""
    assert run(monkeypatch) == 0
    captured = capsys.readouterr()
    head, broken, tiny, unfinished = captured.out.splitlines()

    assert head.split() == ["NAME", "MODEL", "RECIPE", "BYTES", "STATE"]
    assert broken.startswith("a\\x1b[2J ")
    assert "broken: " in broken
    assert tiny.split() == ["tiny-q8", "other", "q8", "1.0", "MB", "ready"]
    assert unfinished.startswith("x.partial")
    assert "unfinished: run the command that was writing it again" in unfinished
    assert all(line.isprintable() for line in captured.out.splitlines())
    assert captured.err == ""


def test_json(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script gets a list of objects."""
    assert run(monkeypatch, "--json") == 0
    broken, tiny, unfinished = json.loads(capsys.readouterr().out)
    nbytes = sum(path.stat().st_size for path in (folder / "tiny-q8").iterdir())

    assert tiny == {
        "name": "tiny-q8",
        "path": str(folder / "tiny-q8"),
        "recipe": "q8",
        "size": None,
        "nbytes": nbytes,
        "layers": 4,
        "experts": 8,
        "problem": None,
        "unfinished": False,
    }
    assert "must have a config.json" in broken["problem"]
    assert unfinished["unfinished"] is True


def test_an_empty_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing on stdout, or an empty list; stderr says how to get a model."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))
    assert run(monkeypatch) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        f"No models in {tmp_path / 'models'} yet.\n"
        "Hint: Download one: gptoss-mlx download 20b\n"
    )

    assert run(monkeypatch, "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
