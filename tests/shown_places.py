"""Every place where text of others is shown: what is printed for a text in it."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from rich.console import Console
from scripted import Scripted, call, turn
from tiny_checkpoint import write_safetensors
from typer.testing import CliRunner

from gptoss_mlx import errors
from gptoss_mlx.chat.banner import banner_lines
from gptoss_mlx.chat.commands import Command, run_command
from gptoss_mlx.chat.pipe import answer_lines
from gptoss_mlx.chat.screen import Screen
from gptoss_mlx.chat.terminal import _Chat
from gptoss_mlx.chat.turn_view import TurnView
from gptoss_mlx.checkpoint.safetensors import read_header
from gptoss_mlx.cli.app import app, main
from gptoss_mlx.cli.chat import _take_tour
from gptoss_mlx.cli.first_model import choose_model
from gptoss_mlx.cli.output import print_line, say
from gptoss_mlx.cli.progress import byte_progress
from gptoss_mlx.config_json import read_config
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.conversation.turn import ToolCall, ToolResult
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.device import Machine
from gptoss_mlx.errors import GptOssError, storage_errors
from gptoss_mlx.harmony.messages import Message, ToolDescription
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.llm import LLM
from gptoss_mlx.manifest import read_manifest
from gptoss_mlx.store import resolve
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.browser.backend import SearchResult, results_page
from gptoss_mlx.tools.browser.documents import Document, Documents
from gptoss_mlx.tools.browser.page import Page
from gptoss_mlx.tools.browser.tool import Browser
from gptoss_mlx.tools.functions import Function, Functions

__all__ = ["PLACES", "Place", "Shown"]


class Paper(io.TextIOBase):
    """What is printed on, a terminal or not."""

    def __init__(self, is_terminal: bool) -> None:
        self.text = ""
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        """Whether it says that it is a terminal."""
        return self._is_terminal

    def write(self, text: str) -> int:
        """Take what is printed."""
        self.text += text
        return len(text)


@dataclass(frozen=True)
class Shown:
    """What a place has to work with.

    Attributes:
        text: Of others.
        folder: Empty, and also where models are kept.
        is_terminal: Whether stdout and stderr are one.
    """

    text: str
    folder: Path
    is_terminal: bool

    @property
    def name(self) -> str:
        """The text as a file can be named."""
        return self.text.replace("/", "").replace("\0", "\1")

    def command(self, *arguments: str) -> None:
        """Run a command, with its errors."""
        with patch("sys.argv", ["gptoss-mlx", *arguments]), suppress(SystemExit):
            main()


@dataclass(frozen=True)
class Place:
    """A place where text of others is shown.

    Attributes:
        show: Prints it, returns it, or raises it in an error.
        one_line: Whether it must be one line, whatever is in it.
    """

    show: Callable[[Shown], object]
    one_line: bool

    def shown(self, text: str, folder: Path, *, is_terminal: bool) -> str:
        """Return all that a reader sees."""
        paper = Paper(is_terminal)
        plain = patch.dict(
            "os.environ", {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
        )
        with redirect_stdout(paper), redirect_stderr(paper), plain:
            try:
                returned = self.show(Shown(text, folder, is_terminal))
            except GptOssError as error:
                notes = "".join(f"{note}\n" for note in error.__notes__)
                returned = f"{error}\n{error.hint}\n{notes}"
        return paper.text + (returned if isinstance(returned, str) else "")


PLACES: dict[str, Place] = {}


def place(
    name: str, *, one_line: bool = True
) -> Callable[[Callable[[Shown], object]], None]:
    """Add a function to the places."""

    def add(show: Callable[[Shown], object]) -> None:
        PLACES[name] = Place(show, one_line)

    return add


@contextmanager
def llm_saying(text: str) -> Iterator[LLM]:
    """A loaded model that answers this."""
    llm = LLM(Path("model"), Scripted(turn(text, text), forever=True), load_tokenizer())
    with patch("gptoss_mlx.llm.load", lambda *names, **options: llm):
        yield llm


def conversation_saying(text: str) -> Conversation:
    """A conversation with a model that answers this."""
    return Conversation(Scripted(turn(text, text)), load_tokenizer())


# Errors.


@place("a tensor's name")
def _(shown: Shown) -> None:
    raise errors.CheckpointError(f"{shown.text}: tensor {shown.text} is missing.")


@place("a file's name")
def _(shown: Shown) -> None:
    raise errors.CorruptFileError(shown.text, f"says {shown.text}.")


@place("a prompt cache's name")
def _(shown: Shown) -> None:
    raise errors.SavedCacheError(shown.text, f"says {shown.text}.")


@place("a hint")
def _(shown: Shown) -> None:
    raise errors.CheckpointError("It is wrong.", hint=f"Remove {shown.text}")


@place("the operating system's word")
def _(shown: Shown) -> None:
    with storage_errors(shown.folder):
        (shown.folder / shown.name).read_bytes()


@place("an error of the command line")
def _(shown: Shown) -> None:
    def fail(**options: object) -> None:
        raise errors.GptOssError(shown.text, hint=f"Try {shown.text}")

    with patch("gptoss_mlx.cli.app.app", fail):
        shown.command()


@place("what a full disk says")
def _(shown: Shown) -> None:
    def fail(**options: object) -> None:
        raise OSError(shown.text)

    with (
        patch("gptoss_mlx.cli.app.app", fail),
        patch("os.dup2"),
        patch("os.open"),
        patch.object(Paper, "fileno", lambda self: 1, create=True),
    ):
        shown.command()


# Files.


def manifest(shown: Shown, **keys: object) -> Path:
    """Write a manifest that is right but for these keys."""
    right = {
        "format": 1,
        "made_by": {},
        "source": {"layout": "", "repository": None, "revision": None, "folder": ""},
        "recipe": "q8",
        "files": {},
        "tensors": {},
    }
    (shown.folder / "manifest.json").write_text(json.dumps(right | keys))
    return shown.folder


@place("a manifest's format")
def _(shown: Shown) -> str:
    return str(read_manifest(manifest(shown, format=shown.text)))


@place("a manifest's sha256")
def _(shown: Shown) -> str:
    files = {shown.name: {"bytes": 1, "sha256": shown.text}}
    return str(read_manifest(manifest(shown, files=files)))


@place("a manifest's file that is missing")
def _(shown: Shown) -> str:
    files = {shown.name: {"bytes": 1, "sha256": "0" * 64}}
    return str(verify_checkpoint(manifest(shown, files=files)))


@place("a file that a manifest lacks")
def _(shown: Shown) -> str:
    (shown.folder / shown.name).touch()
    try:
        return str(verify_checkpoint(manifest(shown)))
    finally:
        (shown.folder / shown.name).unlink()


@place("a tensor that a manifest lacks")
def _(shown: Shown) -> str:
    path = shown.folder / "model.safetensors"
    write_safetensors(path, {shown.text: np.zeros(2, np.float32)})
    files = {path.name: {"bytes": path.stat().st_size, "sha256": "0" * 64}}
    try:
        return str(verify_checkpoint(manifest(shown, files=files)))
    finally:
        path.unlink()


@place("a dtype of safetensors")
def _(shown: Shown) -> str:
    entry = {"dtype": shown.text, "shape": [1], "data_offsets": [0, 1]}
    header = json.dumps({shown.text: entry}).encode()
    path = shown.folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    try:
        return str(read_header(path))
    finally:
        path.unlink()


@place("a value of config.json")
def _(shown: Shown) -> str:
    (shown.folder / "config.json").write_text(json.dumps({"model_type": shown.text}))
    return str(read_config(shown.folder))


# Models.


@contextmanager
def stored(shown: Shown) -> Iterator[Path]:
    """A folder of that name in the store."""
    model = shown.folder / "models" / shown.name
    model.mkdir(parents=True, exist_ok=True)
    manifest(dataclasses.replace(shown, folder=model), recipe=shown.text)
    with patch.dict("os.environ", {"GPTOSS_MLX_HOME": str(shown.folder)}):
        yield model
    (model / "manifest.json").unlink()
    model.rmdir()


@place("the table of models")
def _(shown: Shown) -> None:
    with stored(shown):
        shown.command("models")


@place("models as JSON")
def _(shown: Shown) -> None:
    with stored(shown):
        shown.command("models", "--json")


@place("a model that is none")
def _(shown: Shown) -> str:
    with patch.dict("os.environ", {"GPTOSS_MLX_HOME": str(shown.folder)}):
        return str(resolve(shown.text))


@place("models that are named like it")
def _(shown: Shown) -> str:
    with stored(shown), patch("difflib.get_close_matches", lambda *names, **_: names[1]):
        return str(resolve("model"))


@place("a model to verify")
def _(shown: Shown) -> None:
    with stored(shown) as model:
        shown.command("verify", str(model))


@place("a model to download")
def _(shown: Shown) -> None:
    shown.command("download", shown.text)


@place("a checkpoint to convert")
def _(shown: Shown) -> None:
    shown.command("convert", str(shown.folder / shown.name))


@place("a path that a command prints")
def _(shown: Shown) -> None:
    print_line(Path(shown.text))


@place("a notice")
def _(shown: Shown) -> None:
    say(f"{shown.text} is not the one released.")


@place("progress")
def _(shown: Shown) -> None:
    with byte_progress(shown.text) as progress:
        progress(1, 1)


@place("the offer of a model")
def _(shown: Shown) -> None:
    machine = Machine(shown.text, "gpu", "bfloat16", 10**9, 10**9)
    with patch.dict("os.environ", {"GPTOSS_MLX_HOME": str(shown.folder / "none")}):
        choose_model(machine, lambda *names, **options: Path(), may_offer=True)


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
    for command in ("effort", "save", shown.text):
        argument = str(shown.folder / "none" / shown.text)
        run_command(Command(command, argument), conversation, chat.say)
    return paper.getvalue()


# Tools, whose frames the model reads and the user may be shown.


@dataclass
class OnePage:
    """A back end with one page, whatever is asked for."""

    page: Page

    def search(self, query: str, topn: int) -> Page:
        """Find what is there."""
        found = SearchResult(self.page.title, self.page.url, self.page.title)
        return results_page(query, [found])

    def fetch(self, url: str) -> Page:
        """Return it, or say that it is not there."""
        if url == "none":
            raise errors.ToolError("There is none.")
        return self.page


def browsed(browser: Browser, function: str, **arguments: object) -> str:
    """Call the browser; an error is its message."""
    text = json.dumps(arguments)
    try:
        message = Message("assistant", text, recipient=f"browser.{function}")
        return browser.process(message)
    except errors.ToolError as error:
        return str(error)


@place("a page's title and URL")
def _(shown: Shown) -> str:
    browser = Browser(OnePage(Page(shown.text, shown.text, "text")))
    opened = browsed(browser, "open", id="x")
    return opened + browsed(browser, "find", pattern="text")


@place("results of a search")
def _(shown: Shown) -> str:
    browser = Browser(OnePage(Page(shown.text, shown.text, "text")))
    return browsed(browser, "search", query="text")


@place("a document")
def _(shown: Shown) -> str:
    browser = Browser(Documents([Document(shown.text, "a", f"word {shown.text}")]))
    return browsed(browser, "search", query="word") + browsed(browser, "open", id="a")


@place("a wrong call of the browser")
def _(shown: Shown) -> str:
    browser = Browser(Documents([]))
    told = [
        browsed(browser, "open", id=shown.text),
        browsed(browser, "open", cursor=shown.text),
        browsed(browser, shown.text),
        browsed(browser, "open", **{shown.text: 1}),
    ]
    return "\n".join(told)


@place("what a function raises", one_line=False)
def _(shown: Shown) -> str:
    def run() -> None:
        raise RuntimeError(shown.text)

    functions = Functions([Function(ToolDescription("f", ""), run)])
    return functions.process(call("functions.f", "{}")[0])
