"""A device that fails in the middle, as each user of the real demo model meets it."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from failing_device import OUT_OF_MEMORY, TIMEOUT, fail
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from tiny_checkpoint import write_tiny_checkpoint
from typer.testing import CliRunner

from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.chat.terminal import chat_in_terminal
from gptoss_mlx.cli.app import app
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.errors import DeviceError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.llm import LLM, load

# Two that the demo answers in few tokens.
FIRST, SECOND = "When was gpt-oss released?", "What is the knowledge cutoff of gpt-oss?"
# The function that fails, and how often it works before: in the prefill, at the first
# token, and in the middle of the reasoning.
STAGES = {
    "prefill": ("eval", 0),
    "first token": ("async_eval", 0),
    "decode": ("async_eval", 6),
}
stages = pytest.mark.parametrize("stage", STAGES)


@pytest.fixture(scope="module")
def demo() -> LLM:
    """The demo model."""
    return load("demo")


class Right(NamedTuple):
    """What a conversation is where nothing fails."""

    first: str
    second: str
    messages: list[Message]


@pytest.fixture(scope="module")
def right(demo: LLM) -> Right:
    """Both questions and their answers."""
    conversation = talk(demo)
    first, second = conversation.ask(FIRST).text, conversation.ask(SECOND).text
    return Right(first, second, conversation.messages)


def talk(demo: LLM) -> Conversation:
    """Begin a conversation that draws the same each time."""
    return demo.conversation(temperature=0, seed=1)


@stages
def test_a_question_from_python(
    demo: LLM, right: Right, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has a name; the next question is answered as if nothing had been."""
    where, after = STAGES[stage]
    with monkeypatch.context() as patch:
        fail(patch, where, after=after)
        with pytest.raises(DeviceError, match="Insufficient Memory"):
            demo.ask(FIRST, temperature=0)

    assert demo.ask(FIRST, temperature=0).text == right.first


@stages
def test_a_conversation_keeps_what_was_said(
    demo: LLM, right: Right, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question of which nothing was answered yet is not kept; a begun answer is."""
    where, after = STAGES[stage]
    conversation = talk(demo)
    conversation.ask(FIRST)
    before = list(conversation.messages)
    with monkeypatch.context() as patch:
        fail(patch, where, after=after)
        with pytest.raises(DeviceError):
            conversation.ask(SECOND)

    left = conversation.messages
    assert left[: len(before)] == before
    assert [(message.role, message.channel) for message in left[len(before) :]] == (
        [("user", None), ("assistant", "analysis"), ("assistant", "final")]
        if stage == "decode"
        else []
    )
    assert conversation.ask(SECOND).text == right.second
    if stage != "decode":
        assert conversation.messages == right.messages


@pytest.mark.parametrize("stage", ["prefill", "first token"])
def test_the_same_question_draws_the_same_afterwards(
    demo: LLM, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed's turns are counted by what was answered."""
    where, after = STAGES[stage]
    seeded = [demo.conversation(temperature=2, seed=5) for _ in range(2)]
    with monkeypatch.context() as patch:
        fail(patch, where, after=after)
        with pytest.raises(DeviceError):
            seeded[0].ask(FIRST, max_tokens=20)
    for conversation in seeded:
        conversation.ask(FIRST, max_tokens=20)

    assert seeded[0].messages == seeded[1].messages


@stages
def test_a_chat_by_pipe(
    demo: LLM, right: Right, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error stands on stderr, its answer has a line, and the next is answered."""
    where, after = STAGES[stage]
    output, notes = io.StringIO(), list[str]()

    def lines() -> Any:
        yield FIRST
        with monkeypatch.context() as patch:
            failed = fail(patch, where, after=after, text=TIMEOUT)
            yield SECOND
        assert failed()
        yield SECOND

    assert answer_lines(talk(demo), lines(), output, notes.append) == 1
    assert output.getvalue().splitlines() == [right.first, "", right.second]
    error, hint = notes
    assert error.startswith("Error: The GPU must finish a step in time but was stopped: ")
    assert hint.startswith("Hint: Close other programs that use the GPU")


@stages
def test_a_chat_in_a_terminal(
    demo: LLM, right: Right, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error and its hint are printed; Enter asks the same again, and it is answered."""
    where, after = STAGES[stage]
    conversation = talk(demo)
    conversation.ask(FIRST)
    failed = fail(monkeypatch, where, after=after)
    file = io.StringIO()
    console = Console(file=file, width=400, markup=False, emoji=False, highlight=False)
    with (
        create_pipe_input() as keyboard,
        create_app_session(input=keyboard, output=DummyOutput()),
    ):
        keyboard.send_text(f"{SECOND}\r\r\x04")
        chat_in_terminal(conversation, banner=[], console=console)

    assert failed()
    printed = file.getvalue()
    assert f"but is too small: {OUT_OF_MEMORY}.\nClose other programs, ask" in printed
    shown = printed.partition("Close other programs")[2].replace("\n", " ")
    assert " ".join(right.second.split()) in " ".join(shown.split())


def test_what_was_written_before_stays_on_the_terminal(
    demo: LLM, right: Right, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the paragraph that was being written, above the error."""
    conversation = talk(demo)
    tokens = conversation.ask(FIRST).usage.generated_tokens
    conversation.clear()
    fail(monkeypatch, "async_eval", after=tokens - 4)
    file = io.StringIO()
    console = Console(file=file, width=400, markup=False, emoji=False, highlight=False)
    with (
        create_pipe_input() as keyboard,
        create_app_session(input=keyboard, output=DummyOutput()),
    ):
        keyboard.send_text(f"{FIRST}\r\x15\x04")
        chat_in_terminal(conversation, banner=[], console=console)

    above = file.getvalue().partition("The memory must")[0]
    assert right.first[:20] in above
    assert right.first not in above


@stages
def test_the_command_ask(
    demo: LLM, right: Right, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the program's, which prints it and exits 1."""
    where, after = STAGES[stage]
    monkeypatch.setattr("gptoss_mlx.llm.load", lambda *names, **options: demo)
    command = ["ask", FIRST, "--temperature", "0"]
    with monkeypatch.context() as patch:
        fail(patch, where, after=after)
        done = CliRunner().invoke(app, command, input="")

    assert (type(done.exception), done.exit_code) == (DeviceError, 1)
    assert done.stdout == ""
    assert CliRunner().invoke(app, command, input="").stdout == f"{right.first}\n"


def test_an_answer_that_ask_had_begun_ends_with_its_line(
    demo: LLM, right: Right, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the error begins one of its own."""
    monkeypatch.setattr("gptoss_mlx.llm.load", lambda *names, **options: demo)
    tokens = demo.ask(FIRST, temperature=0).usage.generated_tokens
    fail(monkeypatch, "async_eval", after=tokens - 4)
    done = CliRunner().invoke(app, ["ask", FIRST, "--temperature", "0"], input="")

    assert isinstance(done.exception, DeviceError)
    assert done.stdout.endswith("\n")
    assert right.first.startswith(done.stdout.strip())
    assert done.stdout.strip()


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_a_model_that_does_not_fit_when_it_is_loaded(
    demo: LLM, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the memory's error, not the file's."""
    fail(monkeypatch, "eval", after=3, text="[malloc] Unable to allocate 9 bytes.")
    arguments = ["ask", FIRST, "--model", "demo"] if command == "ask" else ["chat", "demo"]
    done = CliRunner().invoke(app, arguments, input=FIRST)

    assert isinstance(done.exception, DeviceError)
    assert done.exception.hint.endswith("or take a smaller model.")
    assert done.stdout == ""


def test_a_device_that_fails_while_a_model_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command continues afterwards."""
    write_tiny_checkpoint(tmp_path / "released")
    convert = partial(
        convert_checkpoint, tmp_path / "released", tmp_path / "out", recipe="q8"
    )
    with monkeypatch.context() as patch:
        fail(patch, "eval", text="[malloc] Unable to allocate 9 bytes.")
        with pytest.raises(DeviceError):
            convert()

    assert convert().folder.is_dir()
