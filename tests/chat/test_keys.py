from __future__ import annotations

import os
import pty
import signal
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from gptoss_mlx.chat.interrupts import PATIENCE_S, Interrupts
from gptoss_mlx.chat.keys import Keys, as_typed, output_is_kept


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
    """Even after an error; in between Ctrl-C is a signal, and Ctrl-O a key."""
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


def discard(terminal: int) -> None:
    """Do what macOS does when Ctrl-O is pressed: nothing that is written appears."""
    mode = termios.tcgetattr(terminal)
    mode[3] |= termios.FLUSHO
    termios.tcsetattr(terminal, termios.TCSANOW, mode)
    if not flags(terminal) & termios.FLUSHO:
        pytest.skip("the system takes no FLUSHO from a program")


def flags(terminal: int) -> int:
    """The terminal's local modes."""
    local: int = termios.tcgetattr(terminal)[3]
    return local


@pytest.mark.parametrize("context", [Keys, output_is_kept])
def test_output_that_ctrl_o_made_vanish_is_back(
    context: Callable[[int], AbstractContextManager[object]], terminal: tuple[int, int]
) -> None:
    """During an answer and while a model is loaded, and afterwards."""
    _, program = terminal
    discard(program)
    with context(program):
        assert not flags(program) & (termios.FLUSHO | termios.IEXTEN)

    assert not flags(program) & termios.FLUSHO
    assert flags(program) & termios.IEXTEN


@pytest.mark.parametrize("context", [Keys, output_is_kept])
def test_a_system_that_has_no_such_flag(
    context: Callable[[int], AbstractContextManager[object]],
    terminal: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything else works as on other systems."""
    monkeypatch.delattr(termios, "FLUSHO")
    _, program = terminal
    before = termios.tcgetattr(program)
    with context(program):
        assert not flags(program) & termios.IEXTEN

    assert termios.tcgetattr(program) == before


def test_lines_are_still_typed_while_a_model_is_loaded(terminal: tuple[int, int]) -> None:
    """Input is echoed, and Ctrl-C is a signal."""
    _, program = terminal
    wanted = termios.ICANON | termios.ECHO | termios.ISIG
    with output_is_kept(program):
        assert flags(program) & wanted == wanted


def test_a_program_in_the_background_leaves_the_terminal_alone(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system would stop it if it did not."""
    _, program = terminal
    monkeypatch.setattr("os.tcgetpgrp", lambda descriptor: os.getpgrp() + 1)
    before = termios.tcgetattr(program)
    with output_is_kept(program):
        assert termios.tcgetattr(program) == before


def test_output_that_goes_into_a_file_is_kept() -> None:
    """A file has no mode to set."""
    reading, writing = os.pipe()
    done = False
    with output_is_kept(writing):
        done = True
    os.close(reading)
    os.close(writing)

    assert done


def test_without_a_terminal_there_are_no_keys() -> None:
    """There is no error either."""
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
        ("word\r", "word\n"),
        ("one\rtwo", "one\ntwo"),
        ("\r\rone\r\r", "one\n"),
        ("\r", ""),
        ("\x1b[200~a\r\tb\x1b[201~", "a\n\tb"),
        ("\x7fa\x04\x0f", "a"),
    ],
)
def test_what_is_typed_ahead_is_text(raw: str, text: str) -> None:
    """Backspace deletes, and arrow keys are not text."""
    assert as_typed(raw) == text


def test_ctrl_c_waits_for_a_safe_place() -> None:
    """It stops once, however often it is pressed."""
    with Interrupts() as interrupts:
        interrupts.check()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        signal.raise_signal(signal.SIGINT)
        interrupts.check()


def test_ctrl_c_in_a_tool_does_not_wait() -> None:
    """It is raised inside the tool."""
    with Interrupts() as interrupts:
        interrupts.anywhere = True
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        interrupts.check()


def test_ctrl_c_pressed_again_later_does_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is raised even if no safe place is reached."""
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
