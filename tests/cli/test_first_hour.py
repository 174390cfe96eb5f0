"""Mistakes of a first hour, each typed in a terminal of 80 columns."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal_runs import Run, Terminals

DOWNLOAD_20B = "Hint: gptoss-mlx download 20b"
ASK = 'Hint: Ask one: gptoss-mlx ask "What is gpt-oss?"'
Try = Callable[[str], Run]

# What is typed, what must be said of it, the hint, and the exit code.
MISTAKES = [
    # A model that is not here, by all its names, where one tries to use it.
    ("chat 20b", "20b is not downloaded yet.", DOWNLOAD_20B, 1),
    ("chat gpt-oss-20b", "gpt-oss-20b is not downloaded yet.", DOWNLOAD_20B, 1),
    ("chat openai/gpt-oss-120b", "is not downloaded yet.", "gptoss-mlx download 120b", 1),
    ("ask -m 20b What is gpt-oss", "20b is not downloaded yet.", DOWNLOAD_20B, 1),
    ("verify 20b", "20b is not downloaded yet.", DOWNLOAD_20B, 1),
    ("doctor 20b", "20b is not downloaded yet.", DOWNLOAD_20B, 1),
    ("chat llama3", "'llama3' is not a folder or a model", "gptoss-mlx download 20b", 1),
    ("chat notes.txt", "'notes.txt' is not a folder", "gptoss-mlx download 20b", 1),
    ("chat empty", "empty must have a config.json", "Name a folder", 1),
    ("verify missing/", "'missing/' is not a folder", "gptoss-mlx download 20b", 1),
    ("verify empty", "empty must have a manifest.json", "gptoss-mlx convert", 1),
    ("models rm nothing", "'nothing' is not a model in", "gptoss-mlx models", 1),
    # What cannot be downloaded or converted.
    ("download 7b", "must be 20b or 120b but is '7b'", "gptoss-mlx download 20b", 1),
    ("download llama3", "20b or 120b but is 'llama3'", "gptoss-mlx download 20b", 1),
    ("download", "gptoss-mlx download needs MODEL.", DOWNLOAD_20B, 2),
    ("download 20b 120b", "does not take '120b' as well", DOWNLOAD_20B, 2),
    ("download 20b --recipe q4", "small or a TOML file but is 'q4'", "convert --help", 1),
    ("convert missing/", "missing is not a folder", "Name a folder with", 1),
    ("convert notes.txt", "notes.txt is not a folder", "Name a folder with", 1),
    ("convert empty", "empty must have a config.json", "Name a folder with", 1),
    ("convert 20b", "20b is not a folder", DOWNLOAD_20B, 1),
    ("convert", "gptoss-mlx convert needs SRC.", "gptoss-mlx convert ~/Downloads", 2),
    # A model or a question without a command, a command without a question.
    ("20b", "There is no command '20b'.", "Hint: gptoss-mlx chat 20b", 2),
    ("gpt-oss-20b", "There is no command 'gpt-oss-20b'.", "gptoss-mlx chat gpt-oss-20b", 2),
    ("What is gpt-oss", "no command 'What'.", "ask 'What is gpt-oss'", 2),
    ("'Why is it?'", "no command 'Why is it?'.", "ask 'Why is it?'", 2),
    ("ask", "A question is missing", ASK, 1),
    ("ask 20b", "A question is missing", ASK, 1),
    ("ask -m demo", "A question is missing", ASK, 1),
    ("ask ''", "A question is missing", ASK, 1),
    # Other programs' commands.
    ("run 20b", "There is no command 'run'.", "Hint: gptoss-mlx chat 20b", 2),
    ("get 20b", "There is no command 'get'.", DOWNLOAD_20B, 2),
    ("list", "There is no command 'list'.", "Hint: gptoss-mlx models", 2),
    ("models list", "There is no command 'list'.", "Hint: gptoss-mlx models", 2),
    ("rm 20b", "There is no command 'rm'.", "Hint: gptoss-mlx models rm 20b", 2),
    ("serve", "There is no command 'serve'.", "does not serve an API yet", 2),
    ("version", "There is no command 'version'.", "Hint: gptoss-mlx --version", 2),
    ("help ask", "There is no command 'help'.", "Hint: gptoss-mlx ask --help", 2),
    ("dwonload 20b", "no command 'dwonload'.", "mean gptoss-mlx download?", 2),
    # Options.
    ("-v", "gptoss-mlx has no option -v.", "Did you mean -V?", 2),
    ("chat --temp hot", "has no option --temp.", "Did you mean --temperature?", 2),
    ("chat --temperature hot", "must be a valid number but is 'hot'", "chat --help", 2),
    ("chat --effort ultra", "low, medium, high but is 'ultra'", "chat --help", 2),
    ("ask --reasoning-effort high Why", "--reasoning-effort.", "mean --effort?", 2),
    ("ask --max_tokens 5 Why", "no option --max_tokens.", "mean --max-tokens?", 2),
    ("chat --max-tokens 0", "must be at least 1 but is '0'", "chat --help", 2),
    ("chat --seed abc", "must be a valid integer but is 'abc'", "chat --help", 2),
    ("chat --model", "--model needs a value.", "See gptoss-mlx chat --help", 2),
    ("chat 20b -m 120b", "not both '20b' and '120b'", "chat --help", 2),
    ("ask --stream Why", "gptoss-mlx ask has no option --stream.", "ask --help", 2),
    ("harmony render notes.txt", "notes.txt must be JSON", "harmony render --help", 1),
    ("harmony render nothing.json", "nothing.json: No such file", "Name a file", 1),
]


@pytest.fixture
def try_it(terminal: Terminals) -> Iterator[Try]:
    """Types a command where there are a text, an empty folder and no models."""
    # Not tmp_path, which may be longer than the terminal is wide.
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "notes.txt").write_text("Not a model.")
        (Path(home) / "empty").mkdir()
        yield lambda command: terminal.run(
            *shlex.split(command), PWD=home, GPTOSS_MLX_HOME=home
        )


@pytest.mark.parametrize(("typed", "error", "hint", "status"), MISTAKES)
def test_a_mistake_is_told_in_one_line_with_the_next_command(
    typed: str, error: str, hint: str, status: int, try_it: Try
) -> None:
    """No line is over 80 columns, no word is broken, and nothing is a validator's."""
    run = try_it(typed)
    text = " ".join(run.lines)

    assert run.status == status
    assert text.startswith("Error: ")
    assert error in text.partition("Hint: ")[0]
    assert hint in text
    assert text.count("Error: ") == text.count("Hint: ") == 1
    assert max(map(len, run.lines)) <= 80
    for word in ("Traceback", "Value error", "Usage:", "0/?"):
        assert word not in text


@pytest.mark.parametrize("typed", ["-h", "--help", "chat -h", "-V", "--version", "models"])
def test_what_is_no_mistake_is_answered(typed: str, try_it: Try) -> None:
    """With exit code 0, within 80 columns."""
    run = try_it(typed)

    assert run.status == 0
    assert max(map(len, run.lines)) <= 80
