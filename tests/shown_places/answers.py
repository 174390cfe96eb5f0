"""Answers, in commands and in chat."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from scripted import Scripted, turn
from typer.testing import CliRunner

from gptoss_mlx.chat.attach import Attached
from gptoss_mlx.chat.banner import banner_lines
from gptoss_mlx.chat.commands import Command, run_command
from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.chat.screen import Screen
from gptoss_mlx.chat.terminal import _Chat
from gptoss_mlx.chat.turn_view import TurnView
from gptoss_mlx.cli.app import app
from gptoss_mlx.cli.chat import _take_tour
from gptoss_mlx.cli.output import say
from gptoss_mlx.cli.question import Question
from gptoss_mlx.conversation.attachments import read_attachment
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.conversation.turn_events import ToolCall, ToolResult
from gptoss_mlx.device import Machine
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.library.library import Library
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer
from shown_places.place import Paper, Shown, place


@contextmanager
def llm_saying(text: str) -> Iterator[LLM]:
    """A loaded model that answers this."""
    llm = LLM(Path("model"), Scripted(turn(text, text), forever=True), load_tokenizer())
    with patch("gptoss_mlx.llm.load", lambda *names, **options: llm):
        yield llm


def conversation_saying(text: str) -> Conversation:
    """A conversation with a model that answers this."""
    return Conversation(Scripted(turn(text, text)), load_tokenizer())


# Answers.


def ask(shown: Shown, *options: str) -> str:
    """Ask a model that says the text."""
    with llm_saying(shown.text):
        done = CliRunner().invoke(app, ["ask", "Why?", *options], input="")
    return done.output


@place("an answer", one_line=False)
def _(shown: Shown) -> str:
    return ask(shown)


@place("an answer as JSON")
def _(shown: Shown) -> str:
    return ask(shown, "--json")


@place("an answer's sources", one_line=False)
def _(shown: Shown) -> str:
    folder = shown.folder / f"{shown.name}." / "docs"
    folder.mkdir(parents=True)
    # Enough other text, so that a sample of control characters makes no binary file.
    text = f"# {shown.text}\nheating {shown.text}\n" + "The rent is due.\n" * 50
    (folder / f"{shown.name[:50]}.txt").write_text(
        text.replace("\0", "\1"), "utf-8", "replace"
    )
    said = f'"{shown.text} {shown.text}"【0†L4】 【9†L1】'
    told = ""
    with llm_saying(said), Library(folder) as library:
        names = library.names()
        for option in ("--json", "--no-prefetch"):
            chosen = ["ask", "heating", "--in", library.name, "-m", "demo", option]
            done = CliRunner().invoke(app, chosen, input="")
            told += done.output.replace(said, "")
        assert names, library.skipped()
    assert "heating" in told
    return told


@place("an answer in chat by pipe", one_line=False)
def _(shown: Shown) -> str:
    output = Paper(shown.is_terminal)
    answer_lines(conversation_saying(shown.text), ["Why?"], output, say)  # type: ignore[arg-type]
    return output.text


@place("the tour")
def _(shown: Shown) -> None:
    with llm_saying(shown.text) as llm:
        _take_tour(llm)


@place("tokens as messages")
def _(shown: Shown) -> None:
    file = shown.folder / "tokens.json"
    messages = [Message("assistant", shown.text, channel="final")]
    file.write_text(json.dumps(render_conversation(messages, load_tokenizer())))
    shown.command("harmony", "parse", str(file))


@place("a prompt's text", one_line=False)
def _(shown: Shown) -> None:
    file = shown.folder / "chat.json"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": shown.text}]}))
    shown.command("harmony", "render", "--text", str(file))


@place("a conversation that is none")
def _(shown: Shown) -> None:
    file = shown.folder / shown.name
    file.write_text(json.dumps({"messages": [{"role": shown.text}]}))
    shown.command("harmony", "render", str(file))
    file.unlink()


@place("a role that is none")
def _(shown: Shown) -> None:
    shown.command("harmony", "parse", "--role", shown.text, str(shown.folder / "x"))


# Chat in a terminal.


def on_screen(*events: object, unfolded: bool = False) -> str:
    """Show events of a turn."""
    paper = io.StringIO()
    with Screen(Console(file=paper, width=200, color_system=None)) as screen:
        view = TurnView(screen, context_tokens=100, unfolded=unfolded)
        for event in events:
            view.show(event)  # type: ignore[arg-type]
        view.finish()
    return paper.getvalue()


@place("an answer in chat", one_line=False)
def _(shown: Shown) -> str:
    return on_screen(Delta("final", shown.text))


@place("code in chat", one_line=False)
def _(shown: Shown) -> str:
    return on_screen(Delta("final", f"```{shown.text}\n{shown.text}\n```"))


@place("reasoning in chat", one_line=False)
def _(shown: Shown) -> str:
    return on_screen(Delta("analysis", shown.text), unfolded=True)


@place("a file that is attached")
def _(shown: Shown) -> None:
    path = shown.folder / shown.name
    path.write_text("text")
    Question("Why?", attachments=[read_attachment(path)]).check_room(131_072)


@place("a call in chat")
def _(shown: Shown) -> str:
    message = Message("assistant", shown.text, recipient=shown.text)
    return on_screen(ToolCall(message))


@place("a tool's result in chat")
def _(shown: Shown) -> str:
    message = Message("assistant", shown.text, recipient=shown.text)
    results = [
        ToolResult(message, Message("tool", shown.text), refused=refused)
        for refused in (True, False)
    ]
    return on_screen(*results)


@place("lines of the program in chat")
def _(shown: Shown) -> str:
    paper = io.StringIO()
    console = Console(file=paper, width=400, color_system=None)
    conversation = conversation_saying(shown.text)
    with patch("gptoss_mlx.chat.terminal.Prompt"):
        chat = _Chat(conversation, console, show_reasoning=False)
    llm = LLM(Path(shown.text.replace("/", "")), conversation.source, load_tokenizer())
    machine = Machine("Apple M4", "gpu", "bfloat16", 10**9, 10**9)
    for line in banner_lines(llm, "low", machine):
        chat.say(line)
    for command in ("attach", "effort", "save", shown.text):
        argument = str(shown.folder / "none" / shown.text)
        run_command(Command(command, argument), conversation, chat.say, Attached())
    return paper.getvalue()
