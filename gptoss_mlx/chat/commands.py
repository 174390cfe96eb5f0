"""What is typed that begins with a slash."""

from __future__ import annotations

import datetime
import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import StorageError, storage_errors
from gptoss_mlx.harmony.json_form import conversation_to_json
from gptoss_mlx.harmony.messages import EFFORTS

__all__ = ["COMMANDS", "Command", "Next", "read_line", "run_command"]

COMMANDS = {
    "help": ("", "list the commands and keys"),
    "effort": ("[low|medium|high]", "show or set how long the model reasons"),
    "clear": ("", "begin a new conversation"),
    "save": ("[FILE]", "write the conversation as JSON"),
    "quit": ("", "leave"),
}

KEYS = (
    ("Ctrl-O", "show the reasoning, also of the last answer"),
    ("Ctrl-C", "stop the answer, or clear the line"),
    ("Ctrl-D", "leave"),
    ("Esc, then Enter", "begin a new line (Alt-Enter; Option-Enter if Option is Meta)"),
    ("//", "begins a question that begins with a slash"),
)


class Next(Enum):
    """What follows a command."""

    GO_ON = "the next line"
    CORRECT = "the same line, once it is put right"
    QUIT = "nothing"


@dataclass(frozen=True, slots=True)
class Command:
    """A command, known or not.

    Attributes:
        name: Without its slash.
        argument: The rest of the line.
    """

    name: str
    argument: str = ""


def read_line(line: str) -> Command | str:
    """Tell a command from a question, which is given back without space around it."""
    text = line.strip()
    if text.startswith("//"):
        return text[1:]
    if not text.startswith("/"):
        return text
    return Command(*(text[1:].split(maxsplit=1) or [""]))


def run_command(
    command: Command, conversation: Conversation, say: Callable[[str], None]
) -> Next:
    """Do what a command says.

    Args:
        command: Known or not.
        conversation: The conversation it is about.
        say: Is told lines of text for the user.
    """
    match command.name:
        case "help":
            _help(say)
        case "effort":
            return _effort(command.argument, conversation, say)
        case "clear":
            conversation.clear()
            say("A new conversation begins.")
        case "save":
            return _save(command.argument, conversation, say)
        case "quit":
            return Next.QUIT
        case unknown:
            close = difflib.get_close_matches(unknown, COMMANDS, n=1, cutoff=0.4)
            meant = f"Did you mean /{close[0]}?" if close else "/help lists them."
            say(f"There is no command /{unknown}. {meant} (// begins a question with /.)")
            return Next.CORRECT
    return Next.GO_ON


def _help(say: Callable[[str], None]) -> None:
    rows = [(f"/{name} {form}".rstrip(), text) for name, (form, text) in COMMANDS.items()]
    width = max(len(left) for left, _ in rows)
    for left, text in (*rows, *KEYS):
        say(f"{left:<{width}}  {text}")


def _effort(argument: str, conversation: Conversation, say: Callable[[str], None]) -> Next:
    if not argument:
        say(f"The effort is {conversation.effort}.")
        return Next.GO_ON
    for effort in EFFORTS:
        if effort == argument.strip().lower():
            conversation.effort = effort
            say(f"The effort is {effort} from now on.")
            return Next.GO_ON
    say(f"The effort must be one of {', '.join(EFFORTS)} but is {argument}.")
    return Next.CORRECT


def _save(argument: str, conversation: Conversation, say: Callable[[str], None]) -> Next:
    now = datetime.datetime.now()
    name = argument.strip() or f"chat-{now:%Y-%m-%d-%H%M%S}.json"
    try:
        file = Path(name).expanduser()
        _write_new(file, conversation)
    except StorageError as error:
        say(str(error))
    except (RuntimeError, ValueError) as error:  # No such user; a name with a zero byte.
        say(f"{name}: {error}.")
    else:
        say(f"Saved to {file}.")
        return Next.GO_ON
    return Next.CORRECT


def _write_new(file: Path, conversation: Conversation) -> None:
    text = json.dumps(
        conversation_to_json(conversation.messages), ensure_ascii=False, indent=2
    )
    with storage_errors(file):
        if file.exists():
            raise StorageError(f"{file} is there already: name another file.")
        partial = file.with_name(f"{file.name}.partial")
        try:
            partial.write_text(f"{text}\n", encoding="utf-8")
            partial.rename(file)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
