from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from shown_places.place import Paper
from terminal_runs import Run, Terminals

from gptoss_mlx.cli.output import print_error, print_line, print_rows, say

WORDS = "There is more to say here than a terminal has columns, and words stay whole."
COMMAND = "gptoss-mlx convert '/Users/ann/my checkpoints/gpt-oss-20b' --recipe exact"


@pytest.fixture(params=[40, 80])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How wide the terminal is."""
    width: int = request.param
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    return width


def shown(print_it: Callable[..., None], *values: object) -> list[str]:
    """Return the lines that a terminal gets."""
    paper = Paper(is_terminal=True)
    with redirect_stdout(paper), redirect_stderr(paper):
        print_it(*values)
    return paper.text.splitlines()


@pytest.mark.parametrize("print_it", [say, print_line])
def test_a_long_line_is_broken_between_words(
    print_it: Callable[[str], None], columns: int
) -> None:
    """Each line is as long as the terminal allows, and nothing is lost."""
    lines = shown(print_it, f"{WORDS} {WORDS}")

    assert " ".join(lines) == f"{WORDS} {WORDS}"
    assert all(len(line) <= columns for line in lines)
    for line, following in itertools.pairwise(lines):
        assert len(line) + 1 + len(following.split()[0]) > columns


def test_an_indented_line_is_broken_below_itself(columns: int) -> None:
    """Its indentation stays."""
    lines = shown(print_line, f"    {WORDS} {WORDS}")

    assert " ".join(line.removeprefix("    ") for line in lines) == f"{WORDS} {WORDS}"
    assert all(line.startswith("    ") and len(line) <= columns for line in lines)


def test_an_error_and_its_hint_are_broken_between_words(columns: int) -> None:
    """The words Error and Hint count."""
    lines = shown(print_error, WORDS, WORDS)

    assert " ".join(lines) == f"Error: {WORDS} Hint: {WORDS}"
    assert all(len(line) <= columns for line in lines)


def test_rows_are_broken_below_what_they_say(columns: int) -> None:
    """The names stand alone in the first column."""
    first, *rest, last = shown(print_rows, [("name", WORDS), ("a longer name", "ready")])

    assert first.startswith("name           There is")
    assert all(line.startswith("               ") for line in rest)
    assert last == "a longer name  ready"
    assert " ".join(line[15:] for line in (first, *rest)) == WORDS
    assert all(len(line) <= columns for line in (first, *rest))


def test_a_name_without_room_beside_it(columns: int) -> None:
    """The text goes on at the left."""
    _, *rest = shown(print_rows, [("n" * (columns - 10), WORDS)])

    assert all(line.startswith("  ") and not line.startswith("   ") for line in rest)


@pytest.mark.usefixtures("columns")
@pytest.mark.parametrize(
    ("text", "whole"),
    [
        (f"It stopped. To continue: {COMMAND}", COMMAND),
        (f"It stopped. To continue: {COMMAND}. {WORDS}", f"{COMMAND}."),
        (f'Ask one: gptoss-mlx ask "{WORDS}"', f'gptoss-mlx ask "{WORDS}"'),
        (
            "It fits if a program may use more: sudo sysctl iogpu.wired_limit_mb=13300",
            "sudo sysctl iogpu.wired_limit_mb=13300",
        ),
        (f"/{'folder/' * 20}model is broken.", f"/{'folder/' * 20}model"),
    ],
)
def test_what_is_copied_stays_in_one_piece(text: str, whole: str) -> None:
    """A command or a path has a line of its own where it is long, and no line end in it."""
    assert any(whole in line for line in shown(say, text))


@pytest.mark.usefixtures("columns")
def test_a_path_with_spaces_stays_in_one_piece(tmp_path: Path) -> None:
    """It is known from being there."""
    folder = tmp_path / "a disk of mine" / "and a folder of many words" / "model"
    folder.mkdir(parents=True)

    assert shown(print_line, folder) == [str(folder)]
    assert any(
        f"{folder}." in line
        for line in shown(say, f"To be asked again, remove {folder}. {WORDS}")
    )


def test_wide_characters_take_two_columns(columns: int) -> None:
    """As on a terminal."""
    lines = shown(say, " ".join(["世界世界"] * 20))

    assert all(2 * line.count("世") * 2 + line.count(" ") <= columns for line in lines)
    assert len(lines) > 1


def test_a_pipe_gets_each_line_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs read lines; COLUMNS does not count there."""
    monkeypatch.setenv("COLUMNS", "40")
    say(WORDS)
    print_line(WORDS)
    print_error(WORDS, WORDS)
    print_rows([("name", WORDS)])
    told = capsys.readouterr()

    assert told.out.splitlines() == [WORDS, f"name  {WORDS}"]
    assert told.err.splitlines() == [WORDS, f"Error: {WORDS}", f"Hint: {WORDS}"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models"], "broken: "),
        (["verify", "no-such-model"], "is not a folder or a model in"),
        (["convert", "tiny", "fresh"], "fresh"),
        (["verify", "converted"], "match the recorded sha256"),
        (["download", "120b"], "Error: "),
        (["doctor", "--help"], "Example: gptoss-mlx doctor 20b --markdown"),
    ],
)
def test_no_command_breaks_a_word_in_a_real_terminal(
    arguments: list[str], said: str, terminal: Terminals
) -> None:
    """Of 80 columns, which the terminal tells."""
    run = terminal.run(*arguments)

    assert said in " ".join(run.lines)
    assert broken_lines(run) == []


def test_the_offer_breaks_no_word_in_a_real_terminal(
    terminal: Terminals, tmp_path: Path
) -> None:
    """It is more than a line long."""
    run = terminal.run(
        "chat",
        keys={"[y/N]": "\x03"},
        GPTOSS_MLX_HOME=str(tmp_path),
        HF_HUB_OFFLINE="0",
    )

    assert "gpt-oss-120b needs" in " ".join(run.lines)
    assert broken_lines(run) == []


def broken_lines(run: Run) -> list[str]:
    """Lines that a terminal of 80 columns would break, but for paths."""
    return [line for line in run.lines if len(line) > 80 and not re.match(r"\S+$", line)]
