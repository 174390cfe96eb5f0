from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What the script may count on besides Python: POSIX tools.
TOOLS = [
    "cat",
    "cksum",
    "cut",
    "date",
    "dirname",
    "grep",
    "head",
    "mkdir",
    "rm",
    "rmdir",
    "sh",
    "tail",
    "tr",
]
# A Python that installs nothing: pip and compileall succeed, MLX imports.
STUB_PYTHON = f"""
case "$*" in
*"-m venv"*)
    for folder; do :; done
    mkdir -p "$folder/bin"
    echo home >"$folder/pyvenv.cfg"
    cp "$0" "$folder/bin/python"
    ;;
*"-m pip install"*) echo "$*" >>"$PIP_CALLS"; eval "$PIP_DOES" ;;
*"-m "*) ;;
*"import pip"*) ;;
*mlx.core*) ;;
*base_executable*) echo "$PYTHON_IS $0" ;;
*) exec "{sys.executable}" "$@" ;;
esac
"""
# The same without ensurepip and pip.
STUB_WITHOUT_PIP = f"""
case "$*" in
*"-m pip"* | *"-m ensurepip"* | *"import pip"*) exit 1 ;;
esac
{STUB_PYTHON}
"""


class Machine:
    """A clone on a machine that has the commands it is given and no others."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.clone = folder / "the clone"
        self.calls = folder / "pip-calls"
        self.bin.mkdir()
        (self.clone / ".ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci" / "setup", self.clone / ".ci")
        self.pyproject("test = []\nlint = []\n")
        for tool in [*TOOLS, "cp", "seq", "sleep"]:
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        self.command("uname", 'if [ "$1" = -m ]; then echo x86_64; else echo Linux; fi')
        self.command("getconf", "echo glibc 2.39")
        self.env = {
            "PATH": str(self.bin),
            "PIP_CALLS": str(self.calls),
            "PIP_DOES": "",
            "PYTHON_IS": "3.11 x86_64 pip",
        }

    def pyproject(self, groups: str) -> None:
        """Write a pyproject.toml that has these dependency groups."""
        text = f"[dependency-groups]\n{groups}"
        (self.clone / "pyproject.toml").write_text(text, encoding="utf-8")

    def command(self, name: str, script: str) -> None:
        """Put a shell script on the PATH."""
        file = self.bin / name
        file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        file.chmod(0o755)

    def set_up(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the script, with a line on stdin that it must leave alone."""
        return subprocess.run(
            ["sh", str(self.clone / ".ci" / "setup"), *arguments],
            input="for the program\n",
            env=self.env | env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def pip_calls(self) -> int:
        """How often something was installed."""
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Linux machine with glibc 2.39 and no Python."""
    return Machine(tmp_path)


@pytest.fixture
def ready(machine: Machine) -> Machine:
    """The same with Python 3.11, where .venv has been set up."""
    machine.command("python3.11", STUB_PYTHON)
    result = machine.set_up()
    assert result.returncode == 0, result.stderr
    return machine


def no_python(machine: Machine) -> None:
    """Nothing on the PATH."""


def old_python(machine: Machine) -> None:
    """A Mac's own python3."""
    machine.command("python3", STUB_PYTHON)
    machine.env["PYTHON_IS"] = "3.9 x86_64 pip"


def dead_shim(machine: Machine) -> None:
    """A shim of pyenv's for a version that is not selected."""
    machine.command("python3.13", "echo pyenv: python3.13: command not found; exit 127")


def no_ensurepip(machine: Machine) -> None:
    """Debian without python3-venv and python3-pip."""
    machine.command("python3", STUB_WITHOUT_PIP)
    machine.command("apt-get", "")
    machine.env["PYTHON_IS"] = "3.11 x86_64 nopip"


def old_glibc(machine: Machine) -> None:
    """Ubuntu 20.04."""
    machine.command("python3.11", STUB_PYTHON)
    machine.command("getconf", "echo glibc 2.31")


def no_glibc(machine: Machine) -> None:
    """Alpine."""
    machine.command("getconf", "exit 1")


def other_processor(machine: Machine) -> None:
    """A RISC-V board."""
    machine.command("uname", 'if [ "$1" = -m ]; then echo riscv64; else echo Linux; fi')


def intel_mac(machine: Machine) -> None:
    """A Mac with an Intel processor."""
    machine.command("uname", "echo Darwin")
    machine.command("sysctl", "exit 1")


def old_macos(machine: Machine) -> None:
    """Apple silicon with macOS 13."""
    machine.command("uname", "echo Darwin")
    machine.command("sysctl", "echo 1")
    machine.command("sw_vers", "echo 13.6.1")


def intel_python(machine: Machine) -> None:
    """Apple silicon where the only Python runs under Rosetta."""
    machine.command("uname", "echo Darwin")
    machine.command("sysctl", '[ "$2" = hw.optional.arm64 ] && echo 1 || echo 0')
    machine.command("sw_vers", "echo 15.1")
    machine.command("python3.12", STUB_PYTHON)
    machine.env["PYTHON_IS"] = "3.12 x86_64 pip"


def rosetta_terminal(machine: Machine) -> None:
    """The same in a Terminal that itself runs under Rosetta."""
    intel_python(machine)
    machine.command("sysctl", "echo 1")


def uv_offline(machine: Machine) -> None:
    """A uv that finds no Python and fetches none."""
    machine.command("uv", 'if [ "$2" = install ]; then echo "error: dns" >&2; fi; exit 1')


def not_a_venv(machine: Machine) -> None:
    """A folder of the user's own under the name .venv."""
    machine.command("python3.11", STUB_PYTHON)
    (machine.clone / ".venv" / "mine").mkdir(parents=True)


@pytest.mark.parametrize(
    ("lacking", "line"),
    [
        (
            no_python,
            "Python 3.11 or newer is needed: "
            "install it from python.org, or install uv, which fetches it.",
        ),
        (
            old_python,
            "Python 3.11 or newer is needed, and only 3.9 (python3) was found: "
            "install it from python.org, or install uv, which fetches it.",
        ),
        (
            dead_shim,
            "Python 3.11 or newer is needed: "
            "install it from python.org, or install uv, which fetches it.",
        ),
        (
            no_ensurepip,
            "Python 3.11 comes without venv and pip here: apt install python3.11-venv",
        ),
        (
            old_glibc,
            "MLX needs glibc 2.35 or newer, and this system has 2.31: "
            "use Ubuntu 22.04, Debian 12, Fedora 36 or newer.",
        ),
        (
            no_glibc,
            "MLX needs a Linux with glibc 2.35 or newer, and this one has no glibc.",
        ),
        (
            other_processor,
            "MLX has no build for Linux on riscv64, only for x86_64 and aarch64.",
        ),
        (
            intel_mac,
            "MLX needs a Mac with Apple silicon, and this one has an Intel processor.",
        ),
        (old_macos, "MLX needs macOS 14 or newer, and this is macOS 13.6.1."),
        (
            intel_python,
            "Python 3.11 or newer for Apple silicon is needed, "
            "and only 3.12 for Intel (python3.12) was found: "
            "install it from python.org, or install uv, which fetches it.",
        ),
        (
            rosetta_terminal,
            "Python for Apple silicon is needed, and only 3.12 for Intel (python3.12) was "
            "found, because this Terminal runs under Rosetta: quit it, turn off "
            '"Open using Rosetta" in its Get Info in Finder, and open it again.',
        ),
        (uv_offline, "uv could not fetch Python 3.13: error: dns"),
        (
            not_a_venv,
            "{clone}/.venv is no virtual environment: move it out of the way.",
        ),
    ],
)
def test_what_is_lacking_is_told_in_one_line(
    machine: Machine, lacking: Callable[[Machine], None], line: str
) -> None:
    """The script exits 1 with what to do, says it on stderr, and leaves no stamp."""
    lacking(machine)

    result = machine.set_up()

    errors = [x for x in result.stderr.splitlines() if x.startswith("Error: ")]
    assert errors == ["Error: " + line.format(clone=machine.clone.resolve())]
    assert result.stderr.splitlines()[-1] == errors[0]
    assert (result.returncode, result.stdout) == (1, "")
    assert ready_stamp(machine) == []


def ready_stamp(machine: Machine) -> list[str]:
    """The lines of the stamp: the clone, a checksum, the groups; none if unfinished."""
    stamp = machine.clone / ".venv" / ".set-up"
    lines = stamp.read_text().splitlines() if stamp.exists() else []
    return [] if lines == ["unfinished"] else lines


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
