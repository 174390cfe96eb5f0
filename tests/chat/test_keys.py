from __future__ import annotations

import os
import pty
import signal
import termios
import time
from collections.abc import Iterator

import pytest

from gptoss_mlx.chat.interrupts import PATIENCE_S, Interrupts
from gptoss_mlx.chat.keys import Keys, as_typed


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A pseudo-terminal: the keyboard's end, and the program's."""
    keyboard, program = pty.openpty()
    yield keyboard, program
    os.close(keyboard)
    os.close(program)


def pressed(keys: Keys, keyboard: int, data: bytes) -> int:
    """Press keys; return how many Ctrl-O arrived."""
    os.write(keyboard, data)
    time.sleep(0.05)
    return keys.poll()


def test_keys_are_read_without_waiting(terminal: tuple[int, int]) -> None:
    """Ctrl-O is counted, the rest is kept for the next prompt."""
    keyboard, program = terminal
    with Keys(program) as keys:
        assert keys.poll() == 0
        assert pressed(keys, keyboard, b"ab\x0fc\x0f") == 2
        assert pressed(keys, keyboard, "ü".encode()[:1]) == 0
        assert pressed(keys, keyboard, "ü".encode()[1:]) == 0
        os.write(keyboard, b"!")
        time.sleep(0.05)

    assert keys.text == "abcü!"


def test_the_terminal_is_given_back_as_it_was(terminal: tuple[int, int]) -> None:
    """Whatever happens; in between Ctrl-C is a signal, and Ctrl-O a key."""
    _, program = terminal
    before = termios.tcgetattr(program)
    during = None
    try:
        with Keys(program):
            during = termios.tcgetattr(program)
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        after = termios.tcgetattr(program)

    assert during is not None
    assert during[3] & termios.ISIG
    assert not during[3] & (termios.ICANON | termios.ECHO | termios.IEXTEN)
    assert after == before


def test_without_a_terminal_there_are_no_keys() -> None:
    """And no error."""
    reading, writing = os.pipe()
    with Keys(reading) as keys:
        os.write(writing, b"a")
        assert keys.poll() == 0
    os.close(reading)
    os.close(writing)

    assert keys.text == ""


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("word", "word"),
        ("wort\x7fd", "word"),
        ("never\x15word", "word"),
        ("w\x1b[Do\x1b[1;5Crd\x1bOP", "word"),
        ("word\r", "word"),
        ("one\rtwo", "one\ntwo"),
        ("\x7fa\x04\x0f", "a"),
    ],
)
def test_what_is_typed_ahead_is_text(raw: str, text: str) -> None:
    """Deleting works, and arrows are no letters."""
    assert as_typed(raw) == text


def test_ctrl_c_waits_for_a_safe_place() -> None:
    """And stops once, however often it is pressed."""
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        signal.raise_signal(signal.SIGINT)
        interrupts.check()


def test_ctrl_c_in_a_tool_does_not_wait() -> None:
    """It is raised where the tool is."""
    with Interrupts() as interrupts:
        interrupts.anywhere = True
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        interrupts.check()


def test_ctrl_c_pressed_again_later_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the safe place does not come."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Interrupts():
        signal.raise_signal(signal.SIGINT)
        now = PATIENCE_S + 0.1
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_signal_is_left_to_whom_it_was_left() -> None:
    """Ctrl-C after an answer is what it was before."""
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) != before

    assert signal.getsignal(signal.SIGINT) == before
