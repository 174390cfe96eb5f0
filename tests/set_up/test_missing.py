"""What a machine may lack for ``.ci/setup``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from stub_machine import STUB_PYTHON, STUB_WITHOUT_PIP, Machine, ready_stamp


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
