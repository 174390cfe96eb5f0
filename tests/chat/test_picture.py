"""The README's picture: a real conversation in a real terminal, never drawn."""

from __future__ import annotations

import fcntl
import io
import itertools
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
import pytest
from rich.console import Console
from rich.style import Style
from rich.text import Text

PICTURE = Path(__file__).parents[2] / "docs" / "chat.svg"
COLUMNS, LINES = 88, 22
QUESTIONS = ("What is gpt-oss?", "What is MXFP4?", "Who painted the Mona Lisa?")
TIMEOUT_S = 60.0

# pyte's names of colors, in rich's words.
COLORS = {"brown": "yellow", "brightblack": "bright_black"}

# Codes of SGR.
DIM, GREY = 2, 90

# What differs from run to run.
MEASURED = re.compile(
    r"\d+\.\d+(?=(?:&#160;| )s\b)|\d[\d.]*(?=(?:&#160;| )of(?:&#160;| )\d)"
)


class Terminal(pyte.Screen):
    """A screen that answers when it is asked where the cursor is."""

    keyboard = -1

    def write_process_input(self, data: str) -> None:
        """Type the answer."""
        os.write(self.keyboard, data.encode())

    def select_graphic_rendition(self, *attrs: int, **kwargs: bool) -> None:
        """Show faint text, which pyte has no attribute for, in grey."""
        if DIM in attrs and not kwargs:
            attrs = tuple(GREY if attr == DIM else attr for attr in attrs)
        super().select_graphic_rendition(*attrs, **kwargs)


@pytest.fixture(scope="module")
def screen() -> pyte.Screen:
    """What a terminal shows after the questions, typed at the prompt."""
    screen = Terminal(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    keyboard, program = pty.openpty()
    screen.keyboard = keyboard
    size = struct.pack("HHHH", LINES, COLUMNS, 0, 0)
    fcntl.ioctl(program, termios.TIOCSWINSZ, size)
    # COLUMNS and LINES, where they are set, would count for more than the terminal.
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    environment["TERM"] = "xterm-256color"
    process = subprocess.Popen(
        [sys.executable, "-m", "gptoss_mlx", "chat", "demo"],
        stdin=program,
        stdout=program,
        stderr=program,
        env=environment,
        start_new_session=True,
    )
    os.close(program)

    def wait_for_prompt(count: int) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while sum(line.rstrip() == ">" for line in screen.display) < 1 or (
            sum(line.startswith("> ") and len(line.strip()) > 1 for line in screen.display)
            < count
        ):
            assert time.monotonic() < deadline, "\n".join(screen.display)
            if select.select([keyboard], [], [], 0.2)[0]:
                stream.feed(os.read(keyboard, 65536))

    try:
        wait_for_prompt(0)
        for count, question in enumerate(QUESTIONS, start=1):
            os.write(keyboard, f"{question}\r".encode())
            wait_for_prompt(count)
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
    return screen


def drawn(screen: pyte.Screen) -> str:
    """The screen as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for row in range(LINES):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        while cells and not cells[-1].data.strip():
            cells.pop()
        line = Text()
        for look, run in itertools.groupby(cells, style):
            line.append("".join(cell.data for cell in run), look)
        console.print(line, no_wrap=True)
    return console.export_svg(title="gptoss-mlx chat", unique_id="chat")


def style(cell: pyte.screens.Char) -> Style:
    """How a cell looks."""
    return Style(
        color=COLORS.get(cell.fg, cell.fg),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
    )


def test_the_picture_is_what_a_terminal_shows(screen: pyte.Screen) -> None:
    """All but the times. UPDATE_PICTURE=1 writes it anew."""
    picture = drawn(screen)
    if os.environ.get("UPDATE_PICTURE"):
        PICTURE.write_text(picture, encoding="utf-8")

    committed = PICTURE.read_text(encoding="utf-8")
    assert MEASURED.sub("N", picture) == MEASURED.sub("N", committed)
    for question in QUESTIONS:
        assert question.replace(" ", "&#160;") in committed.replace(" ", "&#160;")
