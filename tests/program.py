"""The program, run in this process or in one of its own without a network."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

from gptoss_mlx.cli.app import main

__all__ = ["Done", "run_here", "run_offline"]

# A socket may be made (asyncio needs a pair of them); reaching out is what counts.
PROGRAM = """
import sys

tried = []

def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        tried.append(f"{event} {arguments[1:]}")

sys.addaudithook(hook)
exec(sys.argv[1])
sys.argv = ["gptoss-mlx", *sys.argv[2:]]
from gptoss_mlx.cli.app import main
try:
    main()
finally:
    print(f"attempts: {tried}", file=sys.stderr)
"""


@dataclass(frozen=True)
class Done:
    """What a command did.

    Attributes:
        attempts: What it tried to reach, where that was watched.
    """

    returncode: int
    stdout: str
    stderr: str
    attempts: str = ""


def run_here(*arguments: str, stdin: bytes = b"") -> Done:
    """Run a command in this process, with its errors and its exit status."""
    read = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    written, told = io.BytesIO(), io.BytesIO()
    stdout, stderr = (io.TextIOWrapper(x, encoding="utf-8") for x in (written, told))
    with (
        patch("sys.argv", ["gptoss-mlx", *arguments]),
        patch("sys.stdin", read),
        patch("sys.stdout", stdout),
        patch("sys.stderr", stderr),
        patch("gptoss_mlx.cli.app._leave_in_order"),
    ):
        try:
            main()
        except SystemExit as ended:
            status = ended.code
    stdout.flush()
    stderr.flush()
    assert isinstance(status, int)
    return Done(status, written.getvalue().decode(), told.getvalue().decode())


def run_offline(*arguments: str, stdin: str = "", before: str = "") -> Done:
    """Run a command in a process where there is no network, if the system allows that.

    Args:
        before: Python code that is run first.
    """
    done = subprocess.run(
        [*_apart(), sys.executable, "-c", PROGRAM, before, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    stderr, _, attempts = done.stderr.rpartition("attempts: ")
    return Done(done.returncode, done.stdout, stderr, attempts.strip())


@cache
def _apart() -> tuple[str, ...]:
    """What takes the network away from a command, or nothing where that is not allowed."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return ()
    apart = (unshare, "--map-root-user", "--net")
    tried = subprocess.run([*apart, "true"], capture_output=True, check=False)
    return apart if tried.returncode == 0 else ()
