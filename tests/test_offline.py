"""Nothing is asked of a network: neither wanted nor tried."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

# A socket may be made (asyncio needs a pair of them); reaching out is what counts.
PROGRAM = """
import sys

tried = []

def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        tried.append(f"{event} {arguments[1:]}")

sys.addaudithook(hook)
sys.argv = ["gptoss-mlx", *sys.argv[1:]]
from gptoss_mlx.cli.app import main
try:
    main()
finally:
    print(f"attempts: {tried}", file=sys.stderr)
"""


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the program where there is no network, if the system lets us take it away."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    unshare = shutil.which("unshare")
    if unshare:
        apart = [unshare, "--map-root-user", "--net"]
        if (
            subprocess.run([*apart, "true"], capture_output=True, check=False).returncode
            == 0
        ):
            command = [*apart, *command]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (["chat"], ""),
        (["chat"], "What is gpt-oss?\n"),
        (["ask", "What is gpt-oss?"], ""),
        (["ask", "--json", "What is 12 + 30?"], ""),
        (["models"], ""),
        (["verify", "demo"], ""),
        (["harmony", "render", "-"], '{"messages": [{"role": "user", "content": "Hi"}]}'),
    ],
    ids=["tour", "chat", "ask", "ask --json", "models", "verify", "harmony"],
)
def test_commands_work_without_a_network(arguments: list[str], stdin: str) -> None:
    """They do their work, and do not even try."""
    done = run(*arguments, stdin=stdin)

    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr.endswith("attempts: []\n")


def test_doctor_works_without_a_network() -> None:
    """Logits and tour, and not even an attempt."""
    done = run("doctor", "--json")

    assert json.loads(done.stdout)["passed"] is True
    assert done.stderr.endswith("attempts: []\n")


def test_an_attempt_would_be_noticed() -> None:
    """Downloading is one, and is answered with a named error."""
    done = run("download", "20b")

    assert done.returncode == 1
    assert "Error: openai/gpt-oss-20b must be reachable" in done.stderr
    assert "socket.getaddrinfo" in done.stderr
