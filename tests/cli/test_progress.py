from __future__ import annotations

import io
import sys
import time

import pytest

from gptoss_mlx.cli.output import say
from gptoss_mlx.cli.progress import byte_progress


class Terminal(io.TextIOWrapper):
    """Keeps what a terminal would be sent."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


def test_a_sentence_is_written_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is erased first, and drawn again below."""
    sent = io.BytesIO()
    terminal = Terminal(sent, "utf-8", write_through=True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with byte_progress("Downloading") as show:
        show(10, 100)
        say("Trying again.")
    before, _, after = sent.getvalue().decode().partition("Trying again.")

    assert before.endswith("\r\x1b[2K")
    assert after.startswith("\n")
    assert "Downloading" in before
    assert "Downloading" in after


def test_without_a_terminal_lines_tell_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It uses this run's rate, without the bytes of earlier runs."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with byte_progress("Downloading") as show:
        for seconds, done in ((0.0, 8e9), (10.0, 8.5e9), (15.0, 8.7e9), (100.0, 13.8e9)):
            now[0] = seconds
            show(int(done), 13_800_000_000)

    assert capsys.readouterr().err.splitlines() == [
        "Downloading: 8.50 GB of 13.80 GB, 50.0 MB/s, 1:46 left",
        "Downloading: 13.80 GB of 13.80 GB, 58.0 MB/s",
    ]
