"""Answers in a chat that stand on files."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from scripted import Scripted, turn
from small_library import answer, browse, small_library

from gptoss_mlx.chat.attach import Attached
from gptoss_mlx.chat.commands import Command, Next, run_command
from gptoss_mlx.chat.in_library import _Progress, run_in
from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.chat.terminal import _Chat
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.grounding.grounded_conversation import CANNOT_READ, GroundedConversation
from gptoss_mlx.library.library import Library
from gptoss_mlx.library.update import Progress
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer

QUESTION = "Who services the heating?"
QUOTE = "The landlord services the heating each May. The tenant"
SOURCE = f"[1] docs/letters/heating.md:9  “{QUOTE}”"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents, indexed before."""
    folder = tmp_path_factory.mktemp("library") / "docs"
    small_library(folder).close()
    return folder


def test_in_sets_shows_and_takes_away_the_files(folder: Path) -> None:
    """Answers before and after it stand on nothing."""
    conversation = GroundedConversation(
        Scripted(browse("open", id=0), answer("May【1†L8】."), turn("", "Hi.")),
        load_tokenizer(),
    )
    said: list[str] = []

    def run(argument: str) -> Next:
        return run_command(
            Command("in", argument), conversation, said.append, attached=Attached()
        )

    assert run("") is Next.GO_ON
    assert said.pop() == "Answers stand on no files. /in PATH names some."
    assert run(f" {folder} ") is Next.GO_ON
    assert said.pop() == f"Answers stand on {folder.resolve()} (8 documents)."
    assert conversation.ask(QUESTION).text == "May[1]."
    assert run("off") is Next.GO_ON
    assert said.pop() == "Answers stand on no files. /in PATH names some."
    assert conversation.ask("Hi").text == "Hi."


def test_a_path_is_read_as_it_is_dragged_into_the_terminal(tmp_path: Path) -> None:
    """With the backslashes that macOS puts before spaces, or in quotes."""
    folder = tmp_path / "my papers (1)"
    small_library(folder).close()
    for typed in (str(folder), f"'{folder}'", re.sub(r"([ ()])", r"\\\1", str(folder))):
        conversation = GroundedConversation(Scripted(), load_tokenizer())
        said: list[str] = []

        assert run_in(typed, conversation, said.append), said
        assert said == [f"Answers stand on {folder.resolve()} (8 documents)."]


def test_a_path_that_is_not_there_changes_nothing(folder: Path) -> None:
    """The line can be put right."""
    conversation = GroundedConversation(Scripted(), load_tokenizer())
    said: list[str] = []
    run_in(str(folder), conversation, said.append)
    before = conversation.library
    command = Command("in", "/nowhere/at all")
    done = run_command(command, conversation, said.append, attached=Attached())

    assert done is Next.REFUSED
    assert "/nowhere/at all is neither a library nor a file or folder." in said
    assert conversation.library is before
    run_in("off", conversation, said.append)


def test_an_empty_path_is_refused() -> None:
    """It is not the current folder."""
    conversation = GroundedConversation(Scripted(), load_tokenizer())
    said: list[str] = []

    assert not run_in('""', conversation, said.append)
    assert said == ["A path must not be empty.", "Name a file or folder."]


def test_a_path_is_no_library() -> None:
    """The error names the call that makes one of it."""
    for path in ("papers", Path("papers")):
        with pytest.raises(ValueError, match=r"Library\('papers'\) opens it"):
            GroundedConversation(Scripted(), load_tokenizer(), library=path)  # type: ignore[arg-type]


def test_a_conversation_without_the_means_says_so() -> None:
    """It is one of another kind."""
    said: list[str] = []

    assert not run_in("x", Conversation(Scripted(), load_tokenizer()), said.append)
    assert said == ["This conversation cannot answer from files."]


def test_a_long_reading_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line every few seconds."""
    said: list[str] = []
    monkeypatch.setattr("gptoss_mlx.chat.in_library.LINE_S", 0.0)
    _Progress(said.append)(Progress(3, 1_200, 4, 5))

    assert said == ["Reading: 3 of 1,200 files"]


@pytest.fixture
def library(folder: Path) -> Iterator[Library]:
    """The documents."""
    with Library(folder) as opened:
        yield opened


def shown_by(conversation: GroundedConversation, question: str) -> str:
    """What a terminal shows of an answer."""
    paper = io.StringIO()
    console = Console(file=paper, width=120, markup=False, emoji=False, highlight=False)
    _Chat(conversation, console, show_reasoning=False)._answer(question)
    return paper.getvalue()


def test_sources_are_shown_after_an_answer(library: Library) -> None:
    """Below it, in the same form as by ``ask``."""
    conversation = GroundedConversation(
        Scripted(browse("open", id=0), answer("May【1†L8】.")),
        load_tokenizer(),
        library=library,
    )
    shown = shown_by(conversation, QUESTION)

    assert "May[1]." in shown
    assert f"Sources:\n{SOURCE}\n" in shown
    assert shown.index("May[1].") < shown.index("Sources:")
    assert "【" not in shown.partition("L0:")[0]


def test_without_a_source_the_passages_are_shown(library: Library) -> None:
    """Evidence before prose."""
    conversation = GroundedConversation(
        Scripted(answer("The landlord.")), load_tokenizer(), library=library
    )
    shown = shown_by(conversation, QUESTION)

    assert "Passages found:\ndocs/letters/heating.md:9  The flat › Heating\n" in shown


def test_a_model_that_cannot_read_files_shows_passages_alone(library: Library) -> None:
    """And why; in a terminal and by pipe."""
    conversation = GroundedConversation(
        Scripted(), load_tokenizer(), library=library, reads_files=False
    )
    shown = shown_by(conversation, QUESTION)
    assert "The demo model cannot read files." in shown
    assert "Passages found:\ndocs/letters/heating.md:9  The flat › Heating\n" in shown
    assert "(no answer)" not in shown

    output, notes = io.StringIO(), list[str]()
    assert answer_lines(conversation, [QUESTION], output, notes.append) == 3
    assert output.getvalue().startswith("Passages found:\ndocs/letters/heating.md:9")
    assert "The demo model cannot read files." in notes[0]


def test_sources_are_written_by_pipe_too(library: Library) -> None:
    """After each answer; the next question's begin anew."""
    source = Scripted(browse("open", id=0), answer("May【1†L8】."), answer("900【2†L4】."))
    conversation = GroundedConversation(source, load_tokenizer(), library=library)
    output, notes = io.StringIO(), list[str]()
    status = answer_lines(
        conversation, [QUESTION, "How much is the rent?"], output, notes.append
    )
    first, _, second = output.getvalue().partition("900[1].")

    assert status == 0
    assert first == f"May[1].\n\nSources:\n{SOURCE}\n"
    assert second.startswith("\n\nSources:\n[1] docs/letters/heating.md:")
    assert notes == []


def test_the_status_by_pipe_says_whether_a_source_holds(library: Library) -> None:
    """As that of ``ask``; an answer that is cut is 1 before all."""
    for steps, lines, wanted in (
        ([answer("May.")], [QUESTION], 3),
        ([answer("May."), browse("open", id=0), answer("May【1†L8】.")], [QUESTION] * 2, 3),
        ([answer("")], [QUESTION], 1),
        ([answer(""), answer("May.")], [QUESTION] * 2, 1),
    ):
        conversation = GroundedConversation(
            Scripted(*steps), load_tokenizer(), library=library
        )
        assert answer_lines(conversation, lines, io.StringIO(), print) == wanted


def test_a_stream_of_the_demo_model_says_why_there_is_no_answer(library: Library) -> None:
    """One piece, which is no part of the answer."""
    demo = LLM(Path("demo"), Scripted(), load_tokenizer())
    (piece,) = demo.stream(QUESTION, library=library)

    assert (piece.answer, piece.text) == ("", CANNOT_READ)
    assert demo.ask(QUESTION, library=library).note == CANNOT_READ
