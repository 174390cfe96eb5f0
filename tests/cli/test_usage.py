from __future__ import annotations

import io
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gptoss_mlx.cli.app import main
from gptoss_mlx.cli.options import complete_model

Refuse = Callable[[str], tuple[str, str]]


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Refuse:
    """Types a command that is refused with 2, and returns the error and the hint."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))

    def run(arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["gptoss-mlx", *shlex.split(arguments)])
        with pytest.raises(SystemExit) as exit_info:
            main()
        captured = capsys.readouterr()
        assert (exit_info.value.code, captured.out) == (2, "")
        error, hint = captured.err.splitlines()
        return error.removeprefix("Error: "), hint.removeprefix("Hint: ")

    return run


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ("download", "gptoss-mlx download needs MODEL.", "gptoss-mlx download 20b"),
        ("harmony parse", "gptoss-mlx harmony parse needs FILE.", None),
        (
            "library add",
            "gptoss-mlx library add needs PATH.",
            "gptoss-mlx library add ~/notes ~/contracts --name home",
        ),
        (
            "library rm notes",
            "There is no command 'rm'.",
            "Did you mean gptoss-mlx library remove?",
        ),
        (
            "library index",
            "There is no command 'index'.",
            "Did you mean gptoss-mlx library add?",
        ),
        (
            "models list",
            "There is no command 'list'.",
            "gptoss-mlx models, or see gptoss-mlx models --help",
        ),
        (
            "models remove x",
            "There is no command 'remove'.",
            "Did you mean gptoss-mlx models rm?",
        ),
        (
            "search heating",
            "There is no command 'search'.",
            "gptoss-mlx library search heating",
        ),
        ("ask -m", "-m needs a value.", "See gptoss-mlx ask --help"),
        (
            "ask --effort ultra Why",
            "--effort must be one of low, medium, high but is 'ultra'.",
            "See gptoss-mlx ask --help",
        ),
        (
            "ask --temperature hot Why",
            "--temperature must be a valid number but is 'hot'.",
            "See gptoss-mlx ask --help",
        ),
        (
            "chat --seed -1",
            "--seed must be at least 0 but is '-1'.",
            "See gptoss-mlx chat --help",
        ),
        (
            "chat --max-tokens 0",
            "--max-tokens must be at least 1 but is '0'.",
            "See gptoss-mlx chat --help",
        ),
        (
            "ask --top-p 0 Why",
            "--top-p must be at least 0.001 but is '0'.",
            "See gptoss-mlx ask --help",
        ),
        ("ask --mdoel 20b Why", "gptoss-mlx ask has no option --mdoel.", None),
        ("--verison", "gptoss-mlx has no option --verison.", "Did you mean --version?"),
        ("chat -z", "gptoss-mlx chat has no option -z.", "See gptoss-mlx chat --help"),
        ("ask --json=yes hi", "--json does not take a value.", "See gptoss-mlx ask --help"),
        ("ask --no-wire=1", "--no-wire does not take a value.", None),
        (
            '"What\'s gpt-oss?"',
            'There is no command "What\'s gpt-oss?".',
            """To ask it: gptoss-mlx ask 'What'"'"'s gpt-oss?'""",
        ),
        ("'C:\\dir'", "There is no command 'C:\\\\dir'.", "See gptoss-mlx --help"),
        (
            "'two\nlines'",
            "There is no command 'two\\nlines'.",
            "See gptoss-mlx --help",
        ),
        ("a\u202eb", "There is no command 'a\\u202eb'.", "See gptoss-mlx --help"),
        ('models "it\'s"', 'There is no command "it\'s".', "See gptoss-mlx models --help"),
        ("-- -", "There is no command '-'.", "See gptoss-mlx --help"),
        (
            "convert a b c",
            "gptoss-mlx convert does not take 'c' as well.",
            "gptoss-mlx convert ~/Downloads/gpt-oss-20b",
        ),
        (
            "chat 20b -m 120b",
            "--model: name one model, not both '20b' and '120b'.",
            "See gptoss-mlx chat --help",
        ),
        ("dwonload 20b", "There is no command 'dwonload'.", None),
        ("harmony rendr", "There is no command 'rendr'.", None),
        ("nonsense", "There is no command 'nonsense'.", "See gptoss-mlx --help"),
        (
            "'What is gpt-oss?'",
            "There is no command 'What is gpt-oss?'.",
            "To ask it: gptoss-mlx ask 'What is gpt-oss?'",
        ),
    ],
)
def test_a_mistyped_command_is_told_in_one_line_and_a_hint(
    arguments: str, error: str, hint: str | None, refused: Refuse
) -> None:
    """It has the typed text, the correct form and the next command, not Pydantic's text."""
    told = refused(arguments)

    assert told[0] == error
    assert hint is None or told[1] == hint


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("ask --mdoel 20b Why", "Did you mean --model"),
        ("dwonload 20b", "Did you mean gptoss-mlx download?"),
        ("harmony rendr", "Did you mean gptoss-mlx harmony render?"),
        ("models rmm", "Did you mean gptoss-mlx models rm?"),
    ],
)
def test_what_was_nearly_right_is_suggested(
    arguments: str, hint: str, refused: Refuse
) -> None:
    """For options and for commands."""
    assert refused(arguments)[1].startswith(hint)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ("run 20b", "gptoss-mlx chat 20b"),
        ("get openai/gpt-oss-20b", "gptoss-mlx download openai/gpt-oss-20b"),
        ("list", "gptoss-mlx models"),
        ("ls", "gptoss-mlx models"),
        ("rm gpt-oss-20b-q8", "gptoss-mlx models rm gpt-oss-20b-q8"),
        ("generate 'Why is it?'", "gptoss-mlx ask 'Why is it?'"),
        ("help chat", "gptoss-mlx chat --help"),
        ("rm -f 20b", "gptoss-mlx models rm 20b"),
        ("run gpt-oss:20b", "gptoss-mlx chat 20b"),
        ("get gpt-oss:120b", "gptoss-mlx download 120b"),
        ("gpt-oss:20b", "gptoss-mlx chat 20b"),
        ("serve", "gptoss-mlx does not serve an API yet; ask --json is for scripts."),
    ],
)
def test_another_program_s_command_points_to_ours(
    arguments: str, hint: str, refused: Refuse
) -> None:
    """The hint includes the rest of the typed line."""
    assert refused(arguments)[1] == hint


def test_h_is_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the program and for each command."""
    for arguments in (["-h"], ["ask", "-h"], ["harmony", "render", "-h"]):
        monkeypatch.setattr(sys, "argv", ["gptoss-mlx", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            main()
        assert exit_info.value.code == 0
        assert capsys.readouterr().out.startswith("Usage: gptoss-mlx")


def test_tab_completes_the_names_of_models(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The released ones and what is in the store, but nothing unfinished."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))
    for name in ("gpt-oss-20b-q8", "mine", "x.partial"):
        (tmp_path / "models" / name).mkdir(parents=True)

    assert complete_model("") == ["20b", "120b", "demo", "gpt-oss-20b-q8", "mine"]
    assert complete_model("gpt") == ["gpt-oss-20b-q8"]


@pytest.mark.parametrize(
    "name",
    ["20b", "gpt-oss-120b", "openai/gpt-oss-20b", "gpt-oss:20b", "gpt-oss-120b-q8"],
)
@pytest.mark.parametrize(
    "command", ["chat {}", "chat -m {}", "ask -m {} Why", "verify {}", "models rm {}"]
)
def test_a_released_model_that_is_not_here_is_to_be_downloaded(
    command: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """For each of its names, and in each command that takes a model."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(sys, "argv", ["gptoss-mlx", *command.format(name).split()])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit) as exit_info:
        main()

    assert exit_info.value.code == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"Error: {name} is not downloaded yet.",
        f"Hint: gptoss-mlx download {'120b' if '120' in name else '20b'}",
    ]


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_while_the_program_is_imported_is_quiet() -> None:
    """The exit code is Ctrl-C's, and no import prints a traceback or drops it."""
    code = """
import os, signal, sys
class Pressed:
    def find_spec(self, name, *_):
        if name == "gptoss_mlx.cli.app":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException as error:
                print(repr(error))
sys.meta_path.insert(0, Pressed())
sys.argv = ["gptoss-mlx", "--version"]
from gptoss_mlx.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize("delay_s", [0.01, 0.05, 0.1])
def test_ctrl_c_in_the_first_moments_is_quiet(delay_s: float) -> None:
    """During our imports and after them; Python's own start-up is not covered."""
    code = """
import sys
class Started:
    def find_spec(self, name, *_):
        if name == "gptoss_mlx.cli.app":
            print(flush=True)
sys.meta_path.insert(0, Started())
from gptoss_mlx.__main__ import main
main()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, "models", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()

    assert told == b""
    # Once the interpreter shuts down, the signal itself ends it.
    assert process.returncode in (0, 130, -signal.SIGINT)
