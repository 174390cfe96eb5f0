from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from gptoss_mlx.chat.session import Session
from gptoss_mlx.chat.terminal import (
    answer_lines,
    chat_in_terminal,
    without_controls,
)
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.render import render_message
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer

CTRL_C, CTRL_D = "\x03", "\x04"


def parrot(prompt: list[int]) -> Iterator[int]:
    """Think, then say the last question again; be interrupted by the question "stop"."""
    tokenizer = load_tokenizer()
    question = tokenizer.decode(prompt).rpartition("<|message|>")[2].partition("<|end|>")[0]
    messages = [
        Message("assistant", "The user wants an echo.", channel="analysis"),
        Message("assistant", f"You said: {question}", channel="final"),
    ]
    tokens = [t for message in messages for t in render_message(message, tokenizer)]
    yield from tokens[2:-1]
    if question == "stop":
        raise KeyboardInterrupt
    yield SPECIAL_TOKENS["<|return|>"]


@pytest.fixture
def session() -> Session:
    """A conversation with the parrot."""
    return Session(parrot, load_tokenizer())


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    """A keyboard that types what it is sent."""
    with (
        create_pipe_input() as pipe,
        create_app_session(input=pipe, output=DummyOutput()),
    ):
        yield pipe


def by_pipe(session: Session, lines: list[str]) -> str:
    """Ask by pipe; return stdout."""
    output = io.StringIO()
    answer_lines(session, lines, output)
    return output.getvalue()


def typed(session: Session, keyboard: PipeInput, keys: str) -> str:
    """Type at the prompt; return stdout."""
    output = io.StringIO()
    keyboard.send_text(keys)
    chat_in_terminal(session, output, model="a parrot")
    return output.getvalue()


def test_by_pipe_each_line_gets_a_line_of_answer(session: Session) -> None:
    """Answers alone, without the reasoning; empty lines are no questions."""
    actual = by_pipe(session, ["one\n", "\n", "  \n", "two 🎉"])

    assert actual == "You said: one\nYou said: two 🎉\n"


def test_by_pipe_quit_ends_it(session: Session) -> None:
    """Lines after it are not asked."""
    assert by_pipe(session, ["one\n", "/quit\n", "two\n"]) == "You said: one\n"


def test_by_pipe_nothing_is_nothing(session: Session) -> None:
    """Without a question there is no output."""
    assert by_pipe(session, []) == ""


def test_at_the_prompt_questions_are_answered(
    session: Session, keyboard: PipeInput
) -> None:
    """Until Ctrl-D, and with no word of the reasoning."""
    actual = typed(session, keyboard, f"one\r\r \rtwo\r{CTRL_D}")

    assert actual == "You said: one\n\nYou said: two\n\n"


def test_at_the_prompt_quit_leaves(session: Session, keyboard: PipeInput) -> None:
    """As Ctrl-D does."""
    assert typed(session, keyboard, "one\r/quit\r") == "You said: one\n\n"


def test_ctrl_c_at_the_prompt_clears_the_question(
    session: Session, keyboard: PipeInput
) -> None:
    """The program goes on."""
    actual = typed(session, keyboard, f"never{CTRL_C}one\r{CTRL_D}")

    assert actual == "You said: one\n\n"


def test_ctrl_c_stops_the_answer_and_not_the_program(
    session: Session, keyboard: PipeInput
) -> None:
    """What was written stays, the next question is answered."""
    actual = typed(session, keyboard, f"stop\rone\r{CTRL_D}")

    assert actual == "You said: stop\nYou said: one\n\n"
    assert session.messages[3] == Message("assistant", "You said: stop", channel="final")


def test_control_characters_do_not_reach_the_terminal() -> None:
    """Line ends and tabs do, and so does every printable character."""
    assert without_controls("a\x1b[31mb\r\n\tc\x07 ü🎉") == "a[31mb\n\tc ü🎉"
