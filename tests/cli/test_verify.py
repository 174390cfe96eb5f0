from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.cli.app import main
from gptoss_mlx.config_json import read_config
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.release import Published
from gptoss_mlx.manifest import FileEntry
from gptoss_mlx.manifest_digest import read_digest


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
    digest = read_digest(model) or ""

    assert captured.out == (
        f"{model}: verified\n"
        f"digest: tiny-q8@{digest[:32]}\n"
        "manifest: 6 files, 115 tensors, 1.0 MB match the recorded sha256\n"
    )
    assert captured.err.startswith("Verifying: ")


def test_the_line_that_names_a_model(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is verified if its digest is that one, and refused otherwise."""
    digest = read_digest(model)
    assert digest is not None
    wrong = "0" * 32

    assert run(monkeypatch, f"{model}@{digest[:32]}") == 0
    assert f"@{digest[:32]}\n" in capsys.readouterr().out
    assert run(monkeypatch, f"{model}@{wrong}") == 1
    told = f"must have the digest {wrong} but has {digest[:32]}."
    assert told in capsys.readouterr().err


def test_a_model_of_the_first_format(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It verifies, and has no digest."""
    path = model / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 1}))
    (model / "manifest.sha256").unlink()
    assert run(monkeypatch, "tiny") == 0

    assert "\ndigest: none, since its manifest is of format 1\n" in capsys.readouterr().out


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
    digest = read_digest(model) or ""
    assert report == {
        "folder": str(model),
        "model": f"tiny-q8@{digest[:32]}",
        "digest": digest,
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


@pytest.fixture
def released(
    source: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Converts the checkpoint by a recipe; its files are what is published."""
    files = {
        path.name: FileEntry(
            path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in source.glob("*.*")
    }
    config = replace(read_config(source), quantization=None)
    published = Published("openai/gpt-oss-tiny", "0" * 40, files, config)
    monkeypatch.setattr(
        "gptoss_mlx.sharing.published.published_of", lambda folder: published
    )

    def convert(recipe: str) -> Path:
        folder = model.with_name(f"tiny-{recipe}")
        if recipe != "q8":
            convert_checkpoint(source, folder, recipe=recipe)
        return folder

    return convert


def test_exact_and_the_release(
    released: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All is proved."""
    assert run(monkeypatch, released("exact"), "--release") == 0

    assert capsys.readouterr().out.splitlines()[3:] == [
        f"release: openai/gpt-oss-tiny, revision {'0' * 40}",
        "proved: 79 tensors, put together again to model.safetensors, have the published "
        "sha256",
        "proved: the settings in config.json are as published",
        "written by convert: LICENSE, generation_config.json",
        "not of the release: README.md",
    ]


def test_q8_and_the_release(
    released: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says what is attested, and on stderr what would prove it."""
    model = released("q8")
    assert run(monkeypatch, model, "--release") == 0
    captured = capsys.readouterr()

    assert captured.out.splitlines()[4:] == [
        "attested: the model was made of model.safetensors with the published sha256, as "
        "the manifest says",
        "attested: 61 tensors keep their bytes of then, 18 are quantized",
        "proved: the settings in config.json are as published",
        "written by convert: LICENSE, generation_config.json",
        "not of the release: README.md",
    ]
    assert captured.err.endswith(
        "To prove it, with a download of the release: "
        f"gptoss-mlx verify {model} --release --against SRC\n"
    )


def test_the_release_and_a_download(
    source: Path,
    released: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Then q8 is proved as well; a script gets it file by file."""
    model = released("q8")
    assert run(monkeypatch, model, "--release", "--against", source) == 0
    assert (
        f"proved: 115 tensors are made of model.safetensors in {source}, which have the "
        "published sha256\n" in capsys.readouterr().out
    )
    assert run(monkeypatch, model, "--release", "--against", source, "--json") == 0
    assert json.loads(capsys.readouterr().out)["release"] == {
        "repository": "openai/gpt-oss-tiny",
        "revision": "0" * 40,
        "weights": {"model.safetensors": "proved"},
        "proved_tensors": 115,
        "attested_tensors": 0,
        "quantized_tensors": 0,
        "small_files": [],
        "own_files": ["LICENSE", "generation_config.json"],
        "other_files": ["README.md"],
    }


def test_a_model_that_is_not_released(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error tells which are, and what this one is."""
    assert run(monkeypatch, model, "--release") == 1
    captured = capsys.readouterr()

    assert captured.out == ""
    assert captured.err == (
        "Error: --release compares with openai/gpt-oss-20b or openai/gpt-oss-120b, but "
        f"{model} has 4 layers of 8 experts.\n"
        f"Hint: Compare it with its source: gptoss-mlx verify {model} --against SRC\n"
    )
