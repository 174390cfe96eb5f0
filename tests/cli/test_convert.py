from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.cli.app import main
from gptoss_mlx.convert import pipeline
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.manifest_digest import read_digest
from gptoss_mlx.released_names import RECIPE_NAMES


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A tiny checkpoint in a folder whose name needs quoting."""
    folder = tmp_path / "my models" / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the models of the store are."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> object:
    """Run a command line, and return what it exits with."""
    monkeypatch.setattr(sys, "argv", ["gptoss-mlx", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    return exit_info.value.code


def test_the_recipes_are_those_of_the_library() -> None:
    """Completion and short names know every recipe."""
    assert sorted(RECIPE_NAMES) == sorted(RECIPES)


def test_the_folder_is_printed(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The path alone is on stdout, progress on stderr in plain lines."""
    folder = tmp_path / "out"
    assert run(monkeypatch, "convert", source, folder, "--recipe", "exact") == 0
    captured = capsys.readouterr()

    assert captured.out == f"{folder}\n"
    progress, digest = captured.err.splitlines()
    assert progress.startswith("Converting: 1.5 MB of 1.5 MB, ")
    assert digest == f"Digest: out@{(read_digest(folder) or '')[:32]}"
    assert open_checkpoint(folder).quantization_of("lm_head") is None


@pytest.mark.parametrize("layout", [".", "original"])
def test_without_a_destination_it_goes_to_the_store(
    source: Path,
    store: Path,
    layout: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The name is the folder's, and the recipe's."""
    assert run(monkeypatch, "convert", source / layout) == 0
    assert capsys.readouterr().out == f"{store / 'tiny-q8'}\n"
    assert open_checkpoint(store / "tiny-q8").quantization_of("lm_head") is not None


def test_a_name_from_the_hugging_face_cache(
    source: Path,
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A snapshot's folder is called by its revision: the repository's name is taken."""
    snapshot = tmp_path / "models--ada--tiny-tune" / "snapshots" / ("0" * 40)
    shutil.copytree(source, snapshot)
    assert run(monkeypatch, "convert", snapshot) == 0
    assert capsys.readouterr().out == f"{store / 'tiny-tune-q8'}\n"


def test_a_name_by_size(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """24 layers of 32 experts are gpt-oss-20b, whatever the folder is called."""
    write_tiny_checkpoint(
        tmp_path / "download",
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=24,
        num_local_experts=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    assert run(monkeypatch, "convert", tmp_path / "download", "--recipe", "exact") == 0
    assert capsys.readouterr().out == f"{store / 'gpt-oss-20b-exact'}\n"


def test_ctrl_c_names_the_command_that_continues(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It exits with 130; what it names, typed into a shell, ends the conversion."""
    folder = tmp_path / "it's here"

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_shard", interrupted)
        assert run(monkeypatch, "convert", source, folder, "--recipe", "exact") == 130
    captured = capsys.readouterr()
    prefix = "Stopped. To continue: "
    last = captured.err.splitlines()[-1]

    assert captured.out == ""
    assert last.startswith(prefix)
    assert (tmp_path / "it's here.partial").is_dir()
    program, *arguments = shlex.split(last.removeprefix(prefix))
    assert program == "gptoss-mlx"
    assert run(monkeypatch, *arguments) == 0
    assert capsys.readouterr().out == f"{folder}\n"


def test_ctrl_c_without_a_destination(
    source: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command that continues has the arguments that were typed."""

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "write_shard", interrupted)
    assert run(monkeypatch, "convert", source) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"Stopped. To continue: gptoss-mlx convert {shlex.quote(str(source))}"
    )


def test_consume_without_anybody_to_ask(
    source: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is converted or removed; the command of the hint does both."""
    assert run(monkeypatch, "convert", source, "--consume") == 1
    captured = capsys.readouterr()
    assert not store.exists()
    assert "are not removed without confirmation" in captured.err

    program, *arguments = shlex.split(captured.err.splitlines()[-1].partition(": ")[2])
    assert program == "gptoss-mlx"
    assert run(monkeypatch, *arguments) == 0
    assert not list(source.glob("*.safetensors"))
    assert open_checkpoint(store / "tiny-q8").quantization_of("lm_head") is not None


@pytest.mark.parametrize("answer", [True, False])
def test_consume_asks_first(
    source: Path,
    store: Path,
    answer: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The question has the files and their bytes; without a yes nothing happens."""
    asked: list[str] = []

    def confirm(question: str, **options: Any) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr("typer.confirm", confirm)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert run(monkeypatch, "convert", source, "--consume") == 0

    assert asked == [f"Remove 1 file of {source} (1.5 MB), each once it is converted?"]
    assert (store / "tiny-q8").exists() == answer
    assert bool(list(source.glob("*.safetensors"))) != answer


def test_what_becomes_of_an_earlier_run_is_said(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A sentence on stderr."""

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_shard", interrupted)
        run(monkeypatch, "convert", source, tmp_path / "out")
    run(monkeypatch, "convert", source, tmp_path / "out", "--recipe", "exact")

    assert f"Starting over: {tmp_path / 'out.partial'} has" in capsys.readouterr().err


def test_a_folder_that_is_no_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error has two lines, and the exit code is 1."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(monkeypatch, "convert", empty, tmp_path / "x" / "out") == 1
    assert capsys.readouterr().err == (
        f"Error: {empty} must have a config.json but has none.\n"
        "Hint: Name a folder with config.json and *.safetensors.\n"
    )
    assert not (tmp_path / "x").exists()


def test_a_recipe_that_does_not_exist(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error lists the recipes."""
    assert run(monkeypatch, "convert", tmp_path, "--recipe", "q9") == 1
    assert "must be one of exact, q8, q6, small or a TOML" in capsys.readouterr().err


def test_a_bar_in_a_terminal(source: Path, tmp_path: Path) -> None:
    """If stderr is a terminal it shows a bar with bytes, and stdout has only the result."""
    import pty
    import subprocess

    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gptoss_mlx", "convert", source, tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    out, _ = process.communicate(timeout=60)
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)

    assert out.decode() == f"{tmp_path / 'out'}\n"
    assert "Converting" in shown
    assert "993.9/993.9 kB" in shown
