from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from scripted import Scripted, turn

from gptoss_mlx.chat.commands import COMMANDS, Command, Next, read_line, run_command
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.harmony.json_form import conversation_from_json
from gptoss_mlx.tokenizer import load_tokenizer


@pytest.fixture
def conversation() -> Conversation:
    """A conversation with one answer."""
    conversation = Conversation(Scripted(turn("Hm.", "So it is. ü")), load_tokenizer())
    list(conversation.stream("Why?"))
    return conversation


def run(line: str, conversation: Conversation) -> tuple[Next, list[str]]:
    """Run a command; return what follows and what was said."""
    said: list[str] = []
    command = read_line(line)
    assert isinstance(command, Command)
    return run_command(command, conversation, said.append), said


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("  Why?\n", "Why?"),
        ("", ""),
        ("/quit", Command("quit")),
        (" /effort  high \n", Command("effort", "high")),
        ("/save my file.json", Command("save", "my file.json")),
        ("//etc is what?", "/etc is what?"),
        ("/", Command("")),
        ("What is /etc?", "What is /etc?"),
    ],
)
def test_a_line_is_a_command_or_a_question(line: str, read: Command | str) -> None:
    """Two slashes begin a question with one."""
    assert read_line(line) == read


def test_help_names_every_command_and_key(conversation: Conversation) -> None:
    """One a line."""
    _, said = run("/help", conversation)
    first = [line.split()[0] for line in said]

    assert first[: len(COMMANDS)] == [f"/{name}" for name in COMMANDS]
    assert {"Ctrl-O", "Ctrl-C", "Ctrl-D", "Esc,"} <= set(first)
    assert max(map(len, said)) < 100


def test_effort_is_shown_and_set(conversation: Conversation) -> None:
    """What is no effort changes nothing, and the choices are named."""
    assert run("/effort", conversation) == (Next.GO_ON, ["The effort is medium."])
    assert run("/effort HIGH", conversation)[0] is Next.GO_ON
    assert conversation.effort == "high"

    follows, said = run("/effort much", conversation)

    assert follows is Next.CORRECT
    assert said == ["The effort must be one of low, medium, high but is much."]
    assert conversation.effort == "high"


def test_clear_begins_anew_and_says_so(conversation: Conversation) -> None:
    """Only the opening is left."""
    _, said = run("/clear", conversation)

    assert said == ["A new conversation begins."]
    assert [message.role for message in conversation.messages] == ["system"]


def test_an_unknown_command_is_said_with_the_closest(conversation: Conversation) -> None:
    """It can be put right; what is close to none is told where to look."""
    follows, said = run("/efort high", conversation)

    assert follows is Next.CORRECT
    assert "no command /efort. Did you mean /effort?" in said[0]
    assert "/help lists them" in run("/xyzzy", conversation)[1][0]
    assert run("/", conversation)[0] is Next.CORRECT


def test_quit_leaves(conversation: Conversation) -> None:
    """Without a word."""
    assert run("/quit", conversation) == (Next.QUIT, [])


def test_a_saved_conversation_can_be_read(
    conversation: Conversation, tmp_path: Path
) -> None:
    """In openai-harmony's form, and nothing unfinished is left beside it."""
    file = tmp_path / "my chat.json"
    follows, said = run(f"/save {file}", conversation)
    text = file.read_text(encoding="utf-8")

    assert follows is Next.GO_ON
    assert said == [f"Saved to {file}."]
    assert conversation_from_json(json.loads(text)) == conversation.messages
    assert "ü" in text
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_without_a_name_gets_one(
    conversation: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the time, in the folder one is in."""
    monkeypatch.chdir(tmp_path)
    run("/save", conversation)
    (file,) = tmp_path.iterdir()

    assert file.match("chat-20??-??-??-??????.json")


def test_what_is_there_is_not_overwritten(
    conversation: Conversation, tmp_path: Path
) -> None:
    """It is said, and the name can be put right."""
    file = tmp_path / "chat.json"
    file.write_text("mine")
    follows, said = run(f"/save {file}", conversation)

    assert follows is Next.CORRECT
    assert said == [f"{file} is there already: name another file."]
    assert file.read_text() == "mine"


def test_a_disk_that_refuses_is_a_line(conversation: Conversation, tmp_path: Path) -> None:
    """No folder, a folder, a name that cannot be: the program goes on."""
    for name in (tmp_path / "no" / "x", tmp_path, "/", "a\0b", "~nobody-here/x", "x" * 300):
        follows, said = run(f"/save {name}", conversation)

        assert follows is Next.CORRECT
        assert len(said) == 1
        assert "\n" not in said[0]


def test_a_full_disk_leaves_nothing_behind(
    conversation: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the file nor a part of it."""

    def refuse(file: Path, text: str, encoding: str) -> None:
        file.write_bytes(b"{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", refuse)
    _, said = run(f"/save {tmp_path / 'chat.json'}", conversation)

    assert said == [f"{tmp_path / 'chat.json'}: No space left on device."]
    assert list(tmp_path.iterdir()) == []
