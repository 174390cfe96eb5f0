from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TIMEOUT_S = 60.0
CTRL_C, CTRL_O = "\x03", "\x0f"


class Terminal:
    """The program in a terminal of its own, 80 columns wide."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._keyboard, program = pty.openpty()
        self._seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gptoss_mlx", "chat", "demo", *arguments],
            stdin=program,
            stdout=program,
            stderr=program,
            env={
                **os.environ,
                "TERM": "xterm",
                "COLUMNS": "80",
                "LINES": "24",
                **environment,
            },
            start_new_session=True,
            # A test run in the background hands down that Ctrl-C is ignored.
            preexec_fn=_own_terminal,
        )
        os.close(program)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._keyboard, keys.encode())

    def wait_for(self, text: str) -> str:
        """Read until ``text`` appears; return everything up to there, without colours."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self._plain():
            assert time.monotonic() < deadline, f"no {text!r} in {self._seen!r}"
            if select.select([self._keyboard], [], [], 0.2)[0]:
                try:
                    self._seen += os.read(self._keyboard, 65536).decode(errors="replace")
                except OSError:  # Linux says so when the program has gone.
                    assert text in self._plain(), self._seen
            if "\x1b[6n" in self._seen:  # The program asks where the cursor is.
                self._seen = self._seen.replace("\x1b[6n", "")
                self.type("\x1b[1;1R")
        before, _, self._seen = self._plain().partition(text)
        return before + text

    def leave(self) -> int:
        """Wait until the program has ended; return its exit status."""
        return self.process.wait(TIMEOUT_S)

    def close(self) -> None:
        """End whatever is left."""
        self.process.kill()
        self.process.wait()
        os.close(self._keyboard)

    def _plain(self) -> str:
        return re.sub(r"\x1b\[[0-?]*[a-ln-zA-Z]|\x1b\[[0-9;]*m", _kept, self._seen)


def _kept(found: re.Match[str]) -> str:
    return found[0] if found[0] == "\x1b[6n" else ""


def _own_terminal() -> None:
    import fcntl
    import termios

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Ctrl-C goes to those whose terminal it is.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    """Whatever is put in here is closed at the end."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_a_conversation_in_a_real_terminal(terminals: list[Terminal]) -> None:
    """A question, its answer, its reasoning with Ctrl-O, and /quit."""
    terminal = Terminal("--temperature", "0")
    terminals.append(terminal)
    terminal.wait_for(">")
    terminal.type("How long is the context of gpt-oss?\r")
    answered = terminal.wait_for("131,072 tokens.")
    terminal.wait_for(">")
    terminal.type(CTRL_O)
    terminal.wait_for("Topic: context length.")
    terminal.wait_for(">")
    terminal.type("/quit\r")

    assert re.search(r"thought for \d+\.\d s, \d+ tokens", answered)
    assert "Topic:" not in answered
    assert terminal.leave() == 0


def test_ctrl_c_in_a_real_terminal(terminals: list[Terminal]) -> None:
    """It stops an answer that would not end; what was typed meanwhile is kept."""
    terminal = Terminal("--temperature", "3", "--seed", "1")
    terminals.append(terminal)
    terminal.wait_for(">")
    terminal.type("Who are you?\r")
    terminal.wait_for("Generating…")
    terminal.type("/effort")
    time.sleep(0.2)
    terminal.type(CTRL_C)
    terminal.wait_for("Stopped.")
    terminal.wait_for(">")
    terminal.type("\r")
    terminal.wait_for("The effort is medium.")
    terminal.type("/quit\r")

    assert terminal.leave() == 0


def test_a_saved_conversation_can_be_rendered(
    terminals: list[Terminal], tmp_path: Path
) -> None:
    """``gptoss-mlx harmony render`` reads it, and it has the options' values."""
    file = tmp_path / "chat.json"
    terminal = Terminal("--temperature", "0", "--effort", "high", "--system", "Be brief.")
    terminals.append(terminal)
    terminal.wait_for(">")
    terminal.type("What is MXFP4?\r")
    terminal.wait_for("thought for")
    # What is typed while it answers: Enter keeps the lines apart.
    terminal.type("/help\r")
    terminal.wait_for("> /help")
    terminal.type("\r")
    terminal.wait_for("list the commands and keys")
    terminal.wait_for(">")
    terminal.type(f"/save {file}\r")
    terminal.wait_for("Saved to")
    terminal.type("/quit\r")
    assert terminal.leave() == 0
    rendered = subprocess.run(
        [sys.executable, "-m", "gptoss_mlx", "harmony", "render", str(file), "--text"],
        capture_output=True,
        timeout=120,
        check=True,
    ).stdout.decode()

    assert "Reasoning: high" in rendered
    assert "# Instructions\n\nBe brief." in rendered
    assert "<|message|>What is MXFP4?<|end|>" in rendered


@pytest.mark.parametrize(
    "environment",
    [{"TERM": "dumb"}, {"NO_COLOR": "1", "COLUMNS": "40"}],
    ids=["dumb", "no-color"],
)
def test_simpler_terminals_will_do(
    terminals: list[Terminal], environment: dict[str, str]
) -> None:
    """One that cannot move its cursor, and one without colours, 40 columns wide."""
    terminal = Terminal("--temperature", "0", **environment)
    terminals.append(terminal)
    terminal.wait_for(">")
    terminal.type("When was gpt-oss released?\r")
    terminal.wait_for("OpenAI released gpt-oss on 5 August")
    terminal.wait_for(">")
    terminal.type("/quit\r")

    assert terminal.leave() == 0
