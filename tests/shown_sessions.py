"""Commands and their output, as a document shows them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ROOT", "sessions", "shell"]

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


def sessions(document: str) -> list[tuple[str, str]]:
    """Return every `$ command` of a document with the output below it."""
    found = re.findall(
        r"^    \$ (.+)\n((?:(?:    .*|(?=\n    ))\n)*)", document, re.MULTILINE
    )
    return [
        (command, re.sub(r"^    ", "", output, flags=re.MULTILINE))
        for command, output in found
    ]


def shell(
    command: str, *, stderr: bool = False, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command as a reader would, in this environment, and return its stdout.

    Args:
        command: The command.
        stderr: Whether to return what it prints there as well.
        environment: Variables to set.
    """
    # `make chat` sets up an environment of its own and then runs just this.
    command = command.replace("make chat", "gptoss-mlx chat")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "PATH": path, **(environment or {})},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if stderr else subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout
