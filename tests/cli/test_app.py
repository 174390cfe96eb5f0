from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import gptoss_mlx
from gptoss_mlx.cli.app import app, main
from gptoss_mlx.errors import ConfigError

Command = Callable[[], None]
Register = Callable[[Command], None]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Register]:
    """Makes a function the command ``gptoss-mlx probe``, and types that command."""
    monkeypatch.delenv("GPTOSS_DEBUG", raising=False)
    monkeypatch.setattr(sys, "argv", ["gptoss-mlx", "probe"])
    before = list(app.registered_commands)

    def add(command: Command) -> None:
        app.command("probe")(command)

    yield add
    app.registered_commands[:] = before


def exit_code() -> object:
    """What main() exits with."""
    with pytest.raises(SystemExit) as exit_info:
        main()
    return exit_info.value.code


def program(body: str) -> list[str]:
    """Command line of a process in which ``gptoss-mlx probe`` runs ``body``."""
    code = f"""
import sys, time
from gptoss_mlx.cli.app import app, main
@app.command()
def probe() -> None:
    {body}
sys.argv = ["gptoss-mlx", "probe"]
main()
"""
    return [sys.executable, "-c", code]


def fail() -> None:
    """Raise an error with a hint of its own."""
    raise ConfigError("Rope must be yarn.", hint="Fetch it again: gptoss-mlx x")


def test_a_library_error_becomes_two_lines_and_exit_1(
    register: Register, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message goes to stderr with its hint, and no traceback."""
    register(fail)

    assert exit_code() == 1
    captured = capsys.readouterr()
    assert captured.err == (
        "Error: Rope must be yarn.\nHint: Fetch it again: gptoss-mlx x\n"
    )
    assert captured.out == ""


def test_gptoss_debug_shows_the_traceback(
    register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With GPTOSS_DEBUG=1 the error itself leaves the program."""
    register(fail)
    monkeypatch.setenv("GPTOSS_DEBUG", "1")

    with pytest.raises(ConfigError):
        main()


def test_ctrl_c_in_a_command_exits_130(
    register: Register, capsys: pytest.CaptureFixture[str]
) -> None:
    """KeyboardInterrupt is not an error: nothing is printed."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    register(interrupted)

    assert exit_code() == 130
    assert capsys.readouterr().err == ""


def test_a_real_sigint_exits_130_without_a_traceback() -> None:
    """The terminal's SIGINT ends the process with 130, without output."""
    # A program that is started in the background, as CI may be, ignores SIGINT.
    heed = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    body = f"import signal; {heed}; print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen(
        program(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (130, "")


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_closed_pipe_is_quiet(lines: int) -> None:
    """``gptoss-mlx models | true`` prints no traceback, however much is written.

    The status is that of SIGPIPE: 1 says that a search has found nothing.
    """
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        process = subprocess.run(
            program(f"print('a line\\n' * {lines})"),
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write_end)

    assert (process.returncode, process.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("argument", ["nonsense", "--nonsense"])
def test_a_command_or_option_that_does_not_exist_exits_2(
    argument: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad usage is told on stderr, and names what was typed."""
    monkeypatch.setattr(sys, "argv", ["gptoss-mlx", argument])

    assert exit_code() == 2
    captured = capsys.readouterr()
    assert argument in captured.err
    assert captured.out == ""


def test_version_prints_the_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--version`` needs no command."""
    monkeypatch.setattr(sys, "argv", ["gptoss-mlx", "--version"])

    assert exit_code() == 0
    assert capsys.readouterr().out == f"gptoss-mlx {gptoss_mlx.__version__}\n"


@pytest.mark.parametrize(
    ("environment", "terminal", "is_red"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "xterm"}, False, False),
    ],
)
def test_errors_are_red_on_terminals_that_have_colours(
    environment: dict[str, str],
    terminal: bool,
    is_red: bool,
    register: Register,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Unless NO_COLOR is set: https://no-color.org."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    register(fail)

    assert exit_code() == 1
    assert ("\x1b" in capsys.readouterr().err) is is_red


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_is_a_named_error() -> None:
    """The error names the cause, without a traceback."""
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            program("print('answer')"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert process.returncode == 1
    assert process.stderr.startswith("Error: No space left on device.\nHint: ")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (
            "FileNotFoundError(2, 'No such file', '/x')",
            "/x: No such file.\nHint: Run again",
        ),
        ("OSError(5, 'Input/output error')", "Input/output error.\nHint: Run again"),
        ("OSError()", "OSError.\nHint: Run again"),
        (
            "OSError(28, 'No space left', '/x')",
            "/x: No space left.\nHint: Free some space,",
        ),
    ],
)
def test_what_the_system_refuses_elsewhere_is_not_taken_for_stdout(
    error: str, shown: str
) -> None:
    """The path is named, and only a full disk gets the hint to free some space."""
    process = subprocess.run(
        program(f"print('answer'); raise {error}"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert process.returncode == 1
    assert process.stdout == "answer\n"
    assert process.stderr.startswith(f"Error: {shown}")


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_are_the_null_device(redirection: str) -> None:
    """No file that is opened gets their numbers, which MLX would not read."""
    body = "sys.exit(open('/dev/null').fileno() < 3)"
    command = f"{shlex.join(program(body))} {redirection}"

    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_end_lets_the_program_clean_up(number: signal.Signals) -> None:
    """The program cleans up; the exit code is 128 plus the signal's number."""
    body = """
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)
    """
    with subprocess.Popen(program(body), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        rest = process.stdout.read()

    assert (rest, process.returncode) == ("cleaned up\n", 128 + number)
