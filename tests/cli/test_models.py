from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.cli.app import main
from gptoss_mlx.cli.progress import size_text
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
    nbytes = sum(path.stat().st_size for path in (folder / "tiny-q8").iterdir())
    assert tiny.split() == ["tiny-q8", "other", "q8", *size_text(nbytes).split(), "ready"]
    assert unfinished.startswith("x.partial")
    assert "unfinished: run the same command again" in unfinished
    assert all(line.isprintable() for line in captured.out.splitlines())
    assert captured.err == ""


def test_json(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script gets a list of objects."""
    assert run(monkeypatch, "--json") == 0
    broken, tiny, unfinished = json.loads(capsys.readouterr().out)
    nbytes = sum(path.stat().st_size for path in (folder / "tiny-q8").iterdir())

    manifest = (folder / "tiny-q8" / "manifest.json").read_bytes()
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
        "digest": hashlib.sha256(manifest).hexdigest(),
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
        f"There are no models in {tmp_path / 'models'} yet.\n"
        "Hint: gptoss-mlx download 20b\n"
    )

    assert run(monkeypatch, "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_model_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole, unfinished and broken ones alike; the others stay."""
    for name in ("tiny-q8", "x.partial"):
        assert run(monkeypatch, "rm", "-y", name) == 0
        assert capsys.readouterr().err == f"Removed {folder / name}\n"

    assert [path.name for path in folder.iterdir()] == ["a\x1b[2J"]


def test_a_model_is_not_removed_unasked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal there is no question; the hint is the command that removes it."""
    monkeypatch.setattr("sys.stdin", io.StringIO())

    assert run(monkeypatch, "rm", "tiny") == 1
    assert capsys.readouterr().err == (
        "Error: tiny-q8 is not removed without confirmation.\n"
        "Hint: gptoss-mlx models rm --yes tiny-q8\n"
    )
    assert (folder / "tiny-q8").is_dir()


def test_a_name_of_several_models_removes_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hint lists the matching models."""
    (folder / "tiny-exact").mkdir()

    assert run(monkeypatch, "rm", "-y", "tiny") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("Error: 'tiny' matches 2 models in ")
    assert captured.err.endswith("Hint: Name one: tiny-exact, tiny-q8\n")


@pytest.mark.parametrize("name", ["..", ".", "/", "nothing", ""])
def test_what_is_no_model_of_the_store_is_not_removed(
    name: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A path cannot name a folder outside the store."""
    assert run(monkeypatch, "rm", "-y", name) == 1
    assert "is not a model in" in capsys.readouterr().err
    assert len(list(folder.iterdir())) == 3


def test_of_a_model_that_is_a_link_the_link_is_removed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link's target stays."""
    (folder / "linked").symlink_to(tmp_path / "tiny")

    assert run(monkeypatch, "rm", "-y", "linked") == 0
    assert (tmp_path / "tiny" / "config.json").exists()
    assert not (folder / "linked").exists()
