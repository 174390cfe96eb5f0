from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from stub_machine import STUB_PYTHON, STUB_WITHOUT_PIP, Machine, ready_stamp


def test_the_first_set_up_talks_on_stderr_only(machine: Machine) -> None:
    """Standard output belongs to the program that make starts next."""
    machine.command("python3.11", STUB_PYTHON)

    result = machine.set_up()

    first, last = result.stderr.splitlines()
    assert first == "Setting up .venv with Python 3.11 (once, about a minute)…"
    assert last.startswith("Done in ")
    assert (result.returncode, result.stdout) == (0, "")


def test_standard_input_is_left_to_the_program(machine: Machine) -> None:
    """``echo question | make chat`` asks the question: set-up eats none of it."""
    machine.command("python3.11", STUB_PYTHON.replace("eval", "cat; eval"))

    script = 'sh "the clone/.ci/setup" && cat'
    result = subprocess.run(
        ["sh", "-c", script],
        input="for the program\n",
        cwd=machine.clone.parent,
        env=machine.env,
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout == "for the program\n"


def test_the_second_set_up_does_nothing(ready: Machine) -> None:
    """Nothing changed: nothing is said and nothing installed."""
    result = ready.set_up()

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert ready.pip_calls() == 1


def test_a_changed_pyproject_installs_again(ready: Machine) -> None:
    """A dependency that was added is installed by the next make."""
    ready.pyproject("test = []\nlint = []\nmore = []\n")

    result = ready.set_up()

    assert result.stderr.startswith("Bringing .venv up to date (Python 3.11)…\n")
    assert ready.pip_calls() == 2


def test_groups_add_up(ready: Machine) -> None:
    """``make lint`` after ``make test`` keeps what the tests need."""
    ready.pyproject(
        'test = ["for-test"]\nlint = ["for-lint"]\n'
        'dev = [{ include-group = "test" }, { include-group = "lint" }]\n'
    )
    ready.set_up("test")
    ready.set_up("lint")

    assert (ready.clone / ".venv" / "set-up.txt").read_text() == "for-lint\nfor-test\n"
    ready.calls.unlink()
    ready.set_up("test")
    ready.set_up()
    assert ready.pip_calls() == 0
    ready.set_up("dev")
    assert ready.pip_calls() == 1


@pytest.mark.parametrize("before", [0, 1])
def test_an_interrupted_set_up_starts_afresh(machine: Machine, before: int) -> None:
    """Half an environment is not trusted, even if its Python runs."""
    machine.command("python3.11", STUB_PYTHON)
    for _ in range(before):
        machine.set_up()
    left_over = machine.clone / ".venv" / "left-over"
    result = machine.set_up("test", PIP_DOES=f": >'{left_over}'; kill -9 $PPID; sleep 1")
    assert left_over.exists()
    assert result.returncode != 0
    assert ready_stamp(machine) == []

    again = machine.set_up("test")

    assert again.returncode == 0
    assert ready_stamp(machine)[-1] == "test"
    assert not left_over.exists()


def test_an_environment_whose_python_is_gone_is_made_again(ready: Machine) -> None:
    """An upgrade that removed the Python leaves a dangling link, no more."""
    python = ready.clone / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")

    result = ready.set_up()

    assert result.stderr.startswith("Setting up .venv with Python 3.11")
    assert python.exists()


def test_a_clone_that_was_moved_is_set_up_again(ready: Machine) -> None:
    """Scripts and the editable install hold the path of the clone."""
    ready.clone = ready.clone.rename(ready.clone.with_name("elsewhere"))

    result = ready.set_up()

    assert result.stderr.startswith("Setting up .venv with Python 3.11")
    assert ready_stamp(ready)[0] == str(ready.clone.resolve())


def test_an_environment_that_the_user_made_is_used(ready: Machine) -> None:
    """Without our stamp, .venv is somebody's own: packages are added, none removed."""
    (ready.clone / ".venv" / ".set-up").unlink()
    theirs = ready.clone / ".venv" / "theirs"
    theirs.touch()

    result = ready.set_up()

    assert result.stderr.startswith("Bringing .venv up to date")
    assert theirs.exists()


def test_a_python_that_can_make_a_venv_comes_first(machine: Machine) -> None:
    """A newer one without ensurepip does not stand in the way."""
    with_pip, without = "3.12 x86_64 pip", "3.13 x86_64 nopip"
    machine.command("python3.13", f"PYTHON_IS='{without}'\n{STUB_WITHOUT_PIP}")
    machine.command("python3.12", f"PYTHON_IS='{with_pip}'\n{STUB_PYTHON}")

    result = machine.set_up()

    assert result.stderr.startswith("Setting up .venv with Python 3.12")


def test_a_python_may_be_asked_for(ready: Machine) -> None:
    """``--python`` takes that version alone, and ``--venv`` another folder."""
    result = ready.set_up("--venv", ".venv-parity", "--python", "3.12")

    assert result.stderr == (
        "Error: Python 3.12 is needed for .venv-parity, and only 3.11 (python3.11) "
        "was found: install it, or install uv, which fetches it.\n"
    )


@pytest.mark.parametrize(
    ("says", "line"),
    [
        (
            "WARNING: Retrying after connection broken by NewConnectionError",
            "packages could not be downloaded: is there a network?",
        ),
        (
            "ERROR: [Errno 28] No space left on device",
            "the disk is full: about 1 GB is needed for .venv",
        ),
        (
            "ERROR: No matching distribution found for mlx",
            "packages could not be installed: "
            "ERROR: No matching distribution found for mlx",
        ),
    ],
)
def test_a_failed_install_is_one_line_that_names_the_log(
    machine: Machine, says: str, line: str
) -> None:
    """What pip said is kept in the log, not shown."""
    machine.command("python3.11", STUB_PYTHON)

    result = machine.set_up(PIP_DOES=f"echo '{says}'; exit 1")

    _, error = result.stderr.splitlines()
    assert error.removeprefix("Error: ").startswith(line)
    assert "log: .venv/set-up.log" in error
    assert says in (machine.clone / ".venv" / "set-up.log").read_text()
    assert result.returncode == 1
    assert ready_stamp(machine) == []


def test_two_makes_at_once_take_turns(machine: Machine, tmp_path: Path) -> None:
    """The second waits for the first, says so, and installs nothing twice."""
    machine.command("python3.11", STUB_PYTHON)
    go_on = tmp_path / "go-on"
    # It gives up after 20 s, so that a mistake fails and does not hang.
    waits = f"for i in $(seq 200); do [ ! -e '{go_on}' ] || break; sleep 0.1; done"
    script = ["sh", str(machine.clone / ".ci" / "setup")]
    with subprocess.Popen(
        script, env=machine.env | {"PIP_DOES": waits}, stderr=subprocess.DEVNULL
    ) as first:
        while machine.pip_calls() == 0 and first.poll() is None:
            time.sleep(0.01)
        with subprocess.Popen(
            script, env=machine.env, stderr=subprocess.PIPE, text=True
        ) as second:
            assert second.stderr is not None
            told = second.stderr.readline()
            go_on.touch()
            rest = second.stderr.read()

    assert told == "Waiting for another set-up of this clone…\n"
    assert (rest, first.returncode, second.returncode) == ("", 0, 0)
    assert machine.pip_calls() == 1
