"""Commands in real terminals of 80 columns, each in a fork of one program."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyte

COLUMNS, LINES = 80, 24
TIMEOUT_S = 60.0
IMPORTED = (
    "gptoss_mlx.chat.terminal",
    "gptoss_mlx.convert.verify",
    "gptoss_mlx.llm",
    "gptoss_mlx.sharing.get",
    "rich.progress",
    "rich.status",
)


@dataclass(frozen=True)
class Run:
    """What a command has left on its terminal.

    Attributes:
        status: Its exit code.
        text: All that it wrote, as it wrote it.
    """

    status: int
    text: str

    @property
    def lines(self) -> list[str]:
        """What is seen in the end, by the program's own line ends."""
        # So wide that the terminal breaks no line: one over 80 columns is a fault.
        screen = pyte.Screen(1_000, 200)
        pyte.Stream(screen).feed(self.text)
        return [line.rstrip() for line in screen.display if line.strip()]


class Terminals:
    """A program that has imported the command line, and forks for each command."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(
        self, *arguments: str, keys: Mapping[str, str] | None = None, **environment: str
    ) -> Run:
        """Type a command in a terminal of its own.

        Args:
            arguments: Of the command.
            keys: What is typed when a text appears, each once and in this order.
            environment: Variables to set. PWD is the folder that it is typed in.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {
            "arguments": arguments,
            "keys": list((keys or {}).items()),
            "environment": environment,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Run(**json.loads(self._process.stdout.readline()))


@contextmanager
def terminals(folder: Path) -> Iterator[Terminals]:
    """Start the program in a folder, which is also its home."""
    environment = {
        **os.environ,
        "HOME": str(folder),
        "GPTOSS_MLX_HOME": str(folder / ".gptoss-mlx"),
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "PWD": str(folder),
        "TERM": "xterm",
    }
    environment.pop("COLUMNS", None)
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
    ) as process:
        yield Terminals(process)
        assert process.stdin is not None
        process.stdin.close()


def _serve() -> None:
    from typer.testing import CliRunner

    from gptoss_mlx.cli.app import app

    # Imported once, for all forks, and by a command what it imports.
    for name in IMPORTED:
        importlib.import_module(name)
    CliRunner().invoke(app, ["models"])

    for line in sys.stdin:
        request = json.loads(line)
        process, terminal = pty.fork()
        if not process:
            _child(request)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", LINES, COLUMNS, 0, 0))
        # The child waits for the size.
        os.write(terminal, b"\n")
        text = _read(terminal, request["keys"])
        if text is None:
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        os.close(terminal)
        # Without the line end above, which is echoed.
        text = text.partition("\r\n")[2] if text is not None else "It does not end."
        answer = {"status": os.waitstatus_to_exitcode(status), "text": text}
        print(json.dumps(answer), flush=True)  # noqa: T201


def _read(terminal: int, keys: list[tuple[str, str]]) -> str | None:
    """Read until the program has gone; None: it says nothing for long."""
    data, seen = b"", 0
    while select.select([terminal], [], [], TIMEOUT_S)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux says so when the program has gone.
            part = b""
        if not part:
            return data.decode()
        data += part
        while keys and (found := data.find(keys[0][0].encode(), seen)) >= 0:
            text, typed = keys.pop(0)
            seen = found + len(text)
            os.write(terminal, typed.encode())
    return None


def _child(request: dict[str, Any]) -> None:
    from gptoss_mlx.cli.app import main

    os.environ.update(request["environment"])
    os.chdir(os.environ["PWD"])
    os.read(0, 1)
    # The program's own have read ahead, and are buffered as for pipes.
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", 1, closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, closefd=False)  # type: ignore[misc]
    sys.argv = ["gptoss-mlx", *request["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status: object = 1
    try:
        main()
    except SystemExit as error:
        status = error.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    _serve()
