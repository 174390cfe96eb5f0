from __future__ import annotations

import io
import re
import signal
from collections.abc import Iterator

import pytest
from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from scripted import Said, Scripted, call, turn

from gptoss_mlx.chat.commands import COMMANDS
from gptoss_mlx.chat.keys import Keys
from gptoss_mlx.chat.prompt import CommandCompleter
from gptoss_mlx.chat.terminal import chat_in_terminal
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import CacheError
from gptoss_mlx.generation.request import GeneratedToken, Request
from gptoss_mlx.harmony.messages import Message, ToolDescription
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.functions import Function, Functions

CTRL_C, CTRL_D, CTRL_O, CTRL_U, CTRL_Z = "\x03", "\x04", "\x0f", "\x15", "\x1a"
ALT_ENTER = "\x1b\r"
HEAD = (
    "a script\n/help lists the commands, Ctrl-C stops an answer, Ctrl-D or /quit leaves\n"
)
THOUGHT = re.compile(r"thought for \d+\.\d s, \d+ tokens?\n")


class Interrupted(Scripted):
    """Presses Ctrl-C twice before it says "two", as people do."""

    def __call__(self, request: Request) -> Said:
        """Say the next step."""
        return PressingSaid(super().__call__(request))


class PressingSaid(Said):
    """Another step, interrupted."""

    def __init__(self, step: Said) -> None:
        self.cached_tokens = 0
        self._step = step

    def __next__(self) -> GeneratedToken:
        """Say the next token."""
        token = next(self._step)
        if load_tokenizer().decode([token.token]) == " two":
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return token

    def close(self) -> None:
        """Say no more."""
        self._step.close()


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    """A keyboard that types what it is sent."""
    with (
        create_pipe_input() as pipe,
        create_app_session(input=pipe, output=DummyOutput()),
    ):
        yield pipe


def typed(
    model: Scripted | Conversation,
    keyboard: PipeInput,
    keys: str,
    *,
    question: str | None = None,
    show_reasoning: bool = False,
) -> str:
    """Type at the prompt; return what is printed, but for how it begins."""
    file = io.StringIO()
    keyboard.send_text(keys)
    conversation = (
        model if isinstance(model, Conversation) else Conversation(model, load_tokenizer())
    )
    console = Console(file=file, width=80, markup=False, emoji=False, highlight=False)
    chat_in_terminal(
        conversation,
        banner=["a script"],
        question=question,
        show_reasoning=show_reasoning,
        console=console,
    )
    text = file.getvalue()
    assert text.startswith(HEAD)
    return THOUGHT.sub("thought\n", text.removeprefix(HEAD))


def test_questions_are_answered(keyboard: PipeInput) -> None:
    """Until Ctrl-D, as Markdown, without the reasoning."""
    model = Scripted(turn("Hm.", "**One**."), turn("Hm.", "Two."))
    actual = typed(model, keyboard, f"one\r\r \rtwo\r{CTRL_D}")

    assert actual == "thought\n\nOne.\n\nthought\n\nTwo.\n\n"
    assert "<|message|>two<|end|>" in model.prompts[1]


def test_the_reasoning_is_printed_where_it_is_asked_for(keyboard: PipeInput) -> None:
    """The option is --show-reasoning."""
    model = Scripted(turn("Let me see.", "One."))
    actual = typed(model, keyboard, f"one\r{CTRL_D}", show_reasoning=True)

    assert actual == "Let me see.\n\nthought\n\nOne.\n\n"


def test_ctrl_o_at_the_prompt_prints_the_last_reasoning(keyboard: PipeInput) -> None:
    """Only the last answer's; before the first answer there is none."""
    model = Scripted(turn("Hm.", "One."), turn("Well, [b]\x1b.", "Two."))
    actual = typed(model, keyboard, f"{CTRL_O}one\rtwo\r{CTRL_O}{CTRL_D}")

    assert actual.startswith("There is no reasoning.\n\nthought")
    assert actual.endswith("Two.\n\nWell, [b].\n\n")
    assert "Hm." not in actual


def test_several_lines_are_one_question(keyboard: PipeInput) -> None:
    """Pasted lines, or lines separated by Alt-Enter."""
    model = Scripted(turn("", "One."), turn("", "Two."))
    pasted = "\x1b[200~def f():\n    pass\x1b[201~"
    typed(model, keyboard, f"{pasted}\ra{ALT_ENTER}b\r{CTRL_D}")

    assert "<|message|>def f():\n    pass<|end|>" in model.prompts[0]
    assert "<|message|>a\nb<|end|>" in model.prompts[1]


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("/", list(COMMANDS)),
        ("/e", ["effort"]),
        ("/effort ", ["low", "medium", "high"]),
        ("/effort h", ["high"]),
        ("/x", []),
        ("e", []),
        ("/a\n/e", []),
    ],
)
def test_commands_are_completed(text: str, choices: list[str]) -> None:
    """The arguments of /effort are completed as well; questions are not."""
    found = CommandCompleter().get_completions(Document(text), CompleteEvent())

    assert [completion.text for completion in found] == choices


def test_a_question_that_was_asked_already_is_answered_first(keyboard: PipeInput) -> None:
    """The question is printed before its answer."""
    model = Scripted(turn("", "One."), turn("", "Two."))
    actual = typed(model, keyboard, f"two\r{CTRL_D}", question="/one?")

    assert actual == "> /one?\nOne.\n\nTwo.\n\n"
    assert "<|message|>/one?<|end|>" in model.prompts[0]


def test_a_path_is_a_question(keyboard: PipeInput) -> None:
    """Even though it begins with a slash."""
    model = Scripted(turn("", "Install it."))
    typed(model, keyboard, f"/usr/bin/foo: command not found. Why?\r{CTRL_D}")

    assert "<|message|>/usr/bin/foo: command not found. Why?<|end|>" in model.prompts[0]


def test_quit_leaves(keyboard: PipeInput) -> None:
    """Like Ctrl-D."""
    assert typed(Scripted(), keyboard, "/quit\r") == ""


def test_a_wrong_command_can_be_put_right(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history, which the Up arrow shows, has the line as typed."""
    lines: list[str] = []
    monkeypatch.setattr(InMemoryHistory, "store_string", lambda _, line: lines.append(line))
    actual = typed(Scripted(), keyboard, f"/effrt  low\r{CTRL_D}")

    assert actual.startswith("There is no command /effrt. Did you mean /effort?")
    assert lines == ["/effrt  low"]


def test_a_wrong_command_is_not_part_of_the_next_line(keyboard: PipeInput) -> None:
    """The next prompt is empty."""
    actual = typed(Scripted(), keyboard, f"/effrt low\r/effort\r{CTRL_U}{CTRL_D}")

    assert actual.splitlines()[0].startswith("There is no command /effrt. Did you mean")
    assert actual.splitlines()[1] == "The effort is medium."


def test_ctrl_z_at_the_prompt_suspends_the_program(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not typed into the question."""
    suspended = []
    monkeypatch.setattr(
        Application, "suspend_to_background", lambda *_, **__: suspended.append(1)
    )
    model = Scripted(turn("", "One."))
    typed(model, keyboard, f"o{CTRL_Z}ne\r{CTRL_D}")

    assert suspended == [1]
    assert "<|message|>one<|end|>" in model.prompts[0]


def test_ctrl_c_at_the_prompt_clears_the_question(keyboard: PipeInput) -> None:
    """The program continues."""
    actual = typed(Scripted(turn("", "One.")), keyboard, f"never{CTRL_C}one\r{CTRL_D}")

    assert actual == "One.\n\n"


def test_ctrl_c_twice_in_a_row_tells_how_to_leave(keyboard: PipeInput) -> None:
    """Not the first time, and not after typed text."""
    assert typed(Scripted(), keyboard, f"{CTRL_C}a{CTRL_C}{CTRL_C}{CTRL_D}") == ""
    assert (
        typed(Scripted(), keyboard, f"{CTRL_C}{CTRL_C}{CTRL_D}")
        == "Ctrl-D or /quit leaves.\n"
    )


def test_ctrl_c_stops_the_answer_and_not_the_program(keyboard: PipeInput) -> None:
    """The text so far stays, and the next question is answered."""
    model = Interrupted(turn("", "one two three four"), turn("", "1"))
    conversation = Conversation(model, load_tokenizer())
    actual = typed(conversation, keyboard, f"count\ragain\r{CTRL_D}")

    assert actual == "one\n\nStopped.\n\n1\n\n"
    assert conversation.messages[3] == Message("assistant", "one", channel="final")


def test_ctrl_c_while_reasoning_leaves_no_half_line(keyboard: PipeInput) -> None:
    """The line about the reasoning stays as well."""
    model = Interrupted(turn("one two three four", "1"))
    actual = typed(model, keyboard, f"count\r{CTRL_D}")

    assert actual == "thought\nStopped.\n\n"


def test_ctrl_c_stops_a_tool(keyboard: PipeInput) -> None:
    """It stops while it runs; the conversation continues."""

    def wait() -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the tool went on")

    tools = [Functions([Function(ToolDescription("wait", "Waits."), wait)])]
    model = Scripted(call("functions.wait", "{}"), turn("", "Yes."))
    conversation = Conversation(model, load_tokenizer(), tools=tools)
    actual = typed(conversation, keyboard, f"wait\rgo on\r{CTRL_D}")

    assert actual == "called functions.wait({})\nStopped.\n\nYes.\n\n"


def test_a_question_without_room_is_offered_again(keyboard: PipeInput) -> None:
    """The error and its hint are told, and Enter asks once more."""
    model = Scripted(turn("", "One."), context_tokens=150)
    question = "word " * 100
    actual = typed(model, keyboard, f"{question}\r /clear\r{CTRL_U}one\r{CTRL_D}")

    refused = "A conversation must be shorter.\nStart a new conversation, or shorten the "
    assert actual == f"{refused}question.\n\n" * 2 + "One.\n\n"


def test_an_error_is_no_crash(keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any named error is printed, and the chat continues."""

    def refuse(*_: object, **__: object) -> Iterator[None]:
        raise CacheError("No.", hint="Try.")
        yield

    conversation = Conversation(Scripted(), load_tokenizer())
    monkeypatch.setattr(conversation, "stream", refuse)

    assert typed(conversation, keyboard, f"one\r{CTRL_U}{CTRL_D}") == "No.\nTry.\n\n"


def test_a_context_that_fills_up_is_said(keyboard: PipeInput) -> None:
    """The notice comes before it is full."""
    model = Scripted(turn("", "word " * 20), context_tokens=100)
    actual = typed(model, keyboard, f"one\r{CTRL_D}")

    assert re.search(r"Context: \d+ of 100 tokens used; /clear starts a new", actual)


def test_what_was_typed_ahead_is_at_the_next_prompt(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enter sends the text that was typed during the answer."""
    monkeypatch.setattr(Keys, "text", "two")
    model = Scripted(turn("", "One."), turn("", "Two."))
    actual = typed(model, keyboard, f"one\r\r{CTRL_U}{CTRL_D}")

    assert actual == "One.\n\nTwo.\n\n"
    assert "<|message|>two<|end|>" in model.prompts[1]


def test_what_was_typed_while_files_are_read_is_at_the_next_prompt(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not echoed into the lines that say how far the reading is."""
    monkeypatch.setattr(Keys, "text", "two")
    model = Scripted(turn("", "Two."))
    actual = typed(model, keyboard, f"/in x\r\r{CTRL_U}{CTRL_D}")

    assert actual == "This conversation cannot answer from files.\nTwo.\n\n"


def test_enter_that_was_typed_ahead_keeps_lines_apart(
    keyboard: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is separated from what is typed at the prompt later."""
    monkeypatch.setattr(Keys, "text", "two\n")
    model = Scripted(turn("", "One."), turn("", "Two."))
    typed(model, keyboard, f"one\rthree\r{CTRL_U}\x7f{CTRL_U}{CTRL_D}")

    assert "<|message|>two\nthree<|end|>" in model.prompts[1]


def test_bytes_that_are_no_text_do_no_harm(keyboard: PipeInput) -> None:
    """They are asked as the sign for them."""
    model = Scripted(turn("", "One."))
    keyboard.send_bytes(b"a\xffb\r")
    typed(model, keyboard, CTRL_D)

    assert "<|message|>a\ufffdb<|end|>" in model.prompts[0]
