"""A machine whose commands are stubs, to run ``.ci/setup`` on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

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


def ready_stamp(machine: Machine) -> list[str]:
    """The lines of the stamp: the clone, a checksum, the groups; none if unfinished."""
    stamp = machine.clone / ".venv" / ".set-up"
    lines = stamp.read_text().splitlines() if stamp.exists() else []
    return [] if lines == ["unfinished"] else lines
