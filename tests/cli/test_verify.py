from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.cli.app import main
from gptoss_mlx.convert.pipeline import convert_checkpoint


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny checkpoint as Hugging Face has it."""
    write_tiny_checkpoint(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def model(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint, converted into the store as ``tiny-q8``."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "models" / "tiny-q8"
    convert_checkpoint(source, folder)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> object:
    """Run ``gptoss-mlx verify``, and return what it exits with."""
    monkeypatch.setattr(sys, "argv", ["gptoss-mlx", "verify", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return exit_info.value.code


def test_a_right_model_by_name(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store's name finds it, and what was checked is counted."""
    assert run(monkeypatch, "tiny") == 0
    captured = capsys.readouterr()

    assert captured.out == (
        f"{model}: verified\n"
        "manifest: 6 files, 115 tensors, 1.0 MB match the recorded sha256\n"
    )
    assert captured.err.startswith("Verifying: ")


def test_against_its_source_as_json(
    source: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A script gets the counts."""
    assert run(monkeypatch, model, "--against", source / "original", "--json") == 0
    report = json.loads(capsys.readouterr().out)

    assert report.pop("nbytes") > 900_000
    assert report == {
        "folder": str(model),
        "files": 6,
        "tensors": 115,
        "identical": 61,
        "requantized": 54,
    }


def test_against_its_source_in_words(
    source: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It separates tensors with the source's bytes from quantized ones."""
    assert run(monkeypatch, model, "--against", source) == 0
    assert capsys.readouterr().out.endswith(
        "source: 61 tensors have the same bytes, 54 match after quantizing\n"
    )


def test_a_changed_model(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, nothing on stdout, the file named on stderr."""
    path = model / "LICENSE"
    path.write_bytes(path.read_bytes().swapcase())
    assert run(monkeypatch, "tiny-q8") == 1
    captured = capsys.readouterr()

    assert captured.out == ""
    assert f"Error: {path}: must have the sha256 " in captured.err
    assert "Hint: Convert the released checkpoint again" in captured.err


def test_a_model_that_is_not_there(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those with a name like it are named."""
    assert run(monkeypatch, "tinny-q8") == 1
    assert "Hint: Name one of these: tiny-q8" in capsys.readouterr().err
