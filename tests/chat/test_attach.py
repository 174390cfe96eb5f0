from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console
from scripted import Scripted, turn

from gptoss_mlx.chat.attach import Attached, typed_paths
from gptoss_mlx.chat.commands import Command, Next, read_line, run_command
from gptoss_mlx.chat.prompt import CommandCompleter
from gptoss_mlx.chat.terminal import chat_in_terminal
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.tokenizer import load_tokenizer

CTRL_D = "\x04"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current and the home folder, with files of awkward names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.txt", "my lease (1).txt", 'Ann\'s "own".txt', "b\\c.txt"):
        (tmp_path / name).write_text(f"This is {name}.")
    return tmp_path


def attach(
    argument: str, attached: Attached, model: Scripted | None = None
) -> tuple[Next, list[str]]:
    """Type the command; return what follows and what was said."""
    said: list[str] = []
    conversation = Conversation(model or Scripted(), load_tokenizer())
    command = read_line(f"/attach {argument}")
    assert isinstance(command, Command)
    return run_command(command, conversation, said.append, attached), said


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("a.txt", ["a.txt"]),
        ("my lease (1).txt", ["my lease (1).txt"]),
        ("'my lease (1).txt'", ["my lease (1).txt"]),
        ('"my lease (1).txt"', ["my lease (1).txt"]),
        ("my\\ lease\\ \\(1\\).txt ", ["my lease (1).txt"]),
        ("~/my lease (1).txt", ["my lease (1).txt"]),
        ("~/my\\ lease\\ \\(1\\).txt", ["my lease (1).txt"]),
        ('"~/my lease (1).txt"', ["my lease (1).txt"]),
        ('Ann\'s "own".txt', ['Ann\'s "own".txt']),
        ('Ann\\\'s\\ \\"own\\".txt', ['Ann\'s "own".txt']),
        ("b\\c.txt", ["b\\c.txt"]),
        ("b\\\\c.txt", ["b\\c.txt"]),
        ("a.txt my\\ lease\\ \\(1\\).txt", ["a.txt", "my lease (1).txt"]),
    ],
)
def test_a_path_is_read_as_it_is_typed_or_dragged(
    typed: str, names: list[str], folder: Path
) -> None:
    """Spaces, quotes, ~, and the backslashes that macOS puts before them; several too."""
    paths = [Path(path).expanduser() for path in typed_paths(typed)]

    assert [path.read_text() for path in paths] == [f"This is {name}." for name in names]


@pytest.mark.parametrize("typed", ["no such file.txt", "Ann's file.txt", "a.txt b.txt"])
def test_a_path_that_is_not_there_is_named_as_typed(typed: str, folder: Path) -> None:
    """Nothing is attached."""
    attached = Attached()
    follows, said = attach(typed, attached)

    assert follows is Next.REFUSED
    assert said[0] == f"{typed}: there is no such file."
    assert attached.files == []


def test_what_is_attached_is_listed(folder: Path) -> None:
    """With its tokens; before that, there is nothing."""
    attached = Attached()

    assert attach("", attached)[1] == [
        "Nothing is attached. /attach FILE adds a file to the next question."
    ]
    assert attach("a.txt", attached) == (
        Next.GO_ON,
        ["a.txt: 13 tokens, for the next question"],
    )
    attach("my lease (1).txt", attached)
    assert attach("", attached)[1] == ["a.txt: 13 tokens", "my lease (1).txt: 21 tokens"]


def test_a_file_that_is_too_long_is_refused(folder: Path) -> None:
    """It says what it has, and how to ask about it; what was attached stays."""
    (folder / "long.txt").write_text("word " * 3_000)
    attached = Attached()
    attach("a.txt", attached)
    follows, said = attach("long.txt", attached, Scripted(context_tokens=2_000))

    assert follows is Next.REFUSED
    assert said == [
        "long.txt has 3,009 tokens, but there is room for 1,500.",
        "Let the model search it instead: /in long.txt",
    ]
    assert [file.name for file in attached.files] == ["a.txt"]


def test_a_file_that_is_too_long_beside_the_conversation_is_refused(folder: Path) -> None:
    """A new conversation has room for it."""
    (folder / "long.txt").write_text("word " * 1_000)
    model = Scripted(turn("", "One."), context_tokens=2_000)
    conversation = Conversation(model, load_tokenizer())
    conversation.ask("word " * 600)
    said: list[str] = []
    command = Command("attach", "long.txt")
    follows = run_command(command, conversation, said.append, Attached())

    assert follows is Next.REFUSED
    assert said[0].startswith("The question would have 1,")
    assert said[1] == "/clear starts a new conversation."


def test_clear_removes_what_is_attached(folder: Path) -> None:
    """And says so."""
    attached = Attached()
    attach("a.txt", attached)
    said: list[str] = []
    conversation = Conversation(Scripted(), load_tokenizer())
    run_command(Command("clear"), conversation, said.append, attached)

    assert said[-1] == "No longer attached: a.txt"
    assert attached.files == []


@pytest.fixture
def keyboard() -> Iterator[PipeInput]:
    """A keyboard that types what it is sent."""
    with (
        create_pipe_input() as pipe,
        create_app_session(input=pipe, output=DummyOutput()),
    ):
        yield pipe


def chat(model: Scripted, keyboard: PipeInput, keys: str) -> None:
    """Type at the prompt of a chat."""
    keyboard.send_text(keys)
    console = Console(quiet=True)
    chat_in_terminal(Conversation(model, load_tokenizer()), banner=[], console=console)


def test_the_next_question_alone_carries_the_file(
    folder: Path, keyboard: PipeInput
) -> None:
    """The one after it refers to it by the conversation."""
    model = Scripted(turn("", "One."), turn("", "Two."))
    chat(model, keyboard, f"/attach a.txt\rone\rtwo\r{CTRL_D}")
    file = "File: a.txt\n```\nThis is a.txt.\n```"

    assert f"<|message|>{file}\n\none<|end|>" in model.prompts[0]
    assert model.prompts[1].count(file) == 1
    assert "<|message|>two<|end|>" in model.prompts[1]


def test_a_question_that_fails_keeps_its_file(folder: Path, keyboard: PipeInput) -> None:
    """It is asked again with Enter."""
    model = Scripted(turn("", "One."), context_tokens=200)
    long = "word " * 300
    clear_line = "\x15"
    keys = f"/attach a.txt\r{long}\r{clear_line}one\r{CTRL_D}"
    chat(model, keyboard, keys)

    assert len(model.prompts) == 1
    assert "This is a.txt.\n```\n\none<|end|>" in model.prompts[0]


def test_paths_are_completed(folder: Path) -> None:
    """After /attach, from the current folder and from ~."""
    for begun in ("/attach a", "/attach ~/a", f"/attach {folder}/a"):
        found = CommandCompleter().get_completions(Document(begun), CompleteEvent())
        assert [completion.text for completion in found] == [".txt"]
