"""Slash commands of the chat."""

from __future__ import annotations

import datetime
import difflib
import errno
import json
import os
import re
import secrets
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gptoss_mlx.chat.attach import Attached
from gptoss_mlx.chat.in_library import run_in
from gptoss_mlx.controls import escaped
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.harmony.json_form import conversation_to_json
from gptoss_mlx.harmony.messages import EFFORTS

__all__ = ["COMMANDS", "READING", "Command", "Next", "read_line", "run_command"]

# Of characters: those that a file in UTF-8 cannot hold.
_HALVES = re.compile("[\ud800-\udfff]")

COMMANDS = {
    "help": ("", "list the commands and keys"),
    "attach": ("[FILE]", "add a file to the next question, or list those added"),
    "effort": ("[low|medium|high]", "show or set the reasoning effort"),
    "in": ("[PATH|NAME|off]", "answer from files, with sources, or show which"),
    "clear": ("", "start a new conversation"),
    "save": ("[FILE]", "write the conversation as JSON"),
    "quit": ("", "leave"),
}

# Words that leave other programs; without a slash too they are no questions.
LEAVING = ("exit", "quit", "exit()", "quit()", ":q", ":q!", ":wq")
# A word after a slash that looks like a command.
_WORD = re.compile(r"[^\W\d_][\w-]*")

# Of the text beside a command in /help.
MIN_COLUMNS = 24

READING = ("attach", "in")
"""The commands that read files."""

HARMLESS = ("help", "attach", "effort", "in", "save")

KEYS = (
    ("Ctrl-O", "show the reasoning, including the last answer's"),
    ("Ctrl-C", "stop the answer, or clear the line"),
    ("Ctrl-D", "leave"),
    ("Up", "bring back an earlier line"),
    ("Esc, then Enter", "start a new line (Alt-Enter; Option-Enter if Option is Meta)"),
    ("//", "starts a question with a slash"),
)


class Next(Enum):
    """What the chat does after a command."""

    GO_ON = "the next line"
    REFUSED = "the next line, as the command did nothing"
    QUIT = "nothing"


@dataclass(frozen=True, slots=True)
class Command:
    """A command, known or unknown.

    Attributes:
        name: The name without its slash.
        argument: The rest of the line.
    """

    name: str
    argument: str = ""


def read_line(line: str) -> Command | str:
    """Tell a command from a question, which is returned without surrounding space.

    A word after a slash is a command, known or not, unless it is the path of a file. Other
    text after a slash is a question, for example a longer path.
    """
    text = line.strip()
    if text in LEAVING:
        return Command("exit")
    if text.startswith("//"):
        return text[1:]
    if not text.startswith("/") or "\n" in text:
        return text
    name, *rest = text[1:].split(maxsplit=1) or [""]
    argument = rest[0] if rest else ""
    if name in COMMANDS or ("/" not in name and _closest(name)):
        return Command(name, argument)
    if _WORD.fullmatch(name) and not os.path.lexists(f"/{name}"):
        return Command(name, argument)
    return text if name else Command("")


def _closest(name: str) -> str | None:
    begun = [known for known in COMMANDS if name and known.startswith(name)]
    close = begun or difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.7)
    return close[0] if close else None


def run_command(
    command: Command,
    conversation: Conversation,
    say: Callable[[str], None],
    attached: Attached,
) -> Next:
    """Run a command.

    Args:
        command: The command, known or unknown.
        conversation: The conversation to act on.
        say: Called with lines of text for the user.
        attached: The files for the next question.
    """
    match command.name:
        case "help" | "clear" | "quit" as name if command.argument:
            say(f"/{name} takes no argument but got {escaped(command.argument)}.")
            return Next.REFUSED
        case "help":
            _help(say)
        case "attach":
            done = attached.run(command.argument, conversation, say)
            return Next.GO_ON if done else Next.REFUSED
        case "effort":
            return _effort(command.argument, conversation, say)
        case "in":
            done = run_in(command.argument, conversation, say)
            return Next.GO_ON if done else Next.REFUSED
        case "clear":
            conversation.clear()
            say("Started a new conversation.")
            attached.clear(say)
        case "save":
            return _save(command.argument, conversation, say)
        case "quit":
            return Next.QUIT
        case "exit" | "bye" | "q":
            say("/quit leaves.")
            return Next.REFUSED
        case unknown:
            close = _closest(unknown)
            # A command that ends or clears the conversation is never suggested.
            meant = f"Did you mean /{close}?" if close in HARMLESS else "/help lists them."
            said = f"There is no command /{escaped(unknown)}."
            say(f"{said} {meant} (// starts a question with /.)")
            return Next.REFUSED
    return Next.GO_ON


def _help(say: Callable[[str], None]) -> None:
    rows = [(f"/{name} {form}".rstrip(), text) for name, (form, text) in COMMANDS.items()]
    width = max(len(left) for left, _ in rows) + 2
    columns = shutil.get_terminal_size().columns
    # Without room beside what is explained, the explanation stands below it.
    is_beside = columns >= width + MIN_COLUMNS
    indent = width if is_beside else 4
    for left, text in (*rows, *KEYS):
        parts = textwrap.wrap(text, max(columns - indent, MIN_COLUMNS))
        if is_beside:
            say(f"{left:<{width}}{parts.pop(0)}")
        else:
            say(left)
        for part in parts:
            say(f"{'':<{indent}}{part}")


def _effort(argument: str, conversation: Conversation, say: Callable[[str], None]) -> Next:
    if not argument:
        say(f"The effort is {conversation.effort}.")
        return Next.GO_ON
    for effort in EFFORTS:
        if effort == argument.strip().lower():
            conversation.effort = effort
            say(f"The effort is now {effort}.")
            return Next.GO_ON
    say(f"The effort must be one of {', '.join(EFFORTS)} but is {escaped(argument)}.")
    return Next.REFUSED


def _save(argument: str, conversation: Conversation, say: Callable[[str], None]) -> Next:
    now = datetime.datetime.now()
    name = argument.strip() or f"chat-{now:%Y-%m-%d-%H%M%S}.json"
    try:
        _write_new(Path(name).expanduser(), conversation)
    except OSError as error:
        said = {
            errno.EEXIST: "already exists: choose another name",
            errno.ENOENT: "no such folder",
        }.get(error.errno or 0, error.strerror or str(error))
        say(f"{escaped(name)}: {said}.")
    except (RuntimeError, ValueError) as error:  # an unknown user; a zero byte in a name
        say(f"{escaped(name)}: {escaped(str(error))}.")
    else:
        say(f"Saved to {escaped(name)}.")
        return Next.GO_ON
    return Next.REFUSED


def _write_new(file: Path, conversation: Conversation) -> None:
    """Create a file, completely or not at all; never follow a link.

    Raises:
        FileExistsError: The name exists already, even as a dangling link.
        OSError: The system refuses.
    """
    if os.path.lexists(file):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    text = json.dumps(
        conversation_to_json(conversation.messages), ensure_ascii=False, indent=2
    )
    text = _HALVES.sub("\ufffd", text)
    draft = file.with_name(f".gptoss-mlx-{secrets.token_hex(8)}")
    with draft.open("x", encoding="utf-8") as opened:
        try:
            opened.write(f"{text}\n")
            opened.close()
            _rename_to_new(draft, file)
        finally:
            draft.unlink(missing_ok=True)


def _rename_to_new(draft: Path, file: Path) -> None:
    try:
        # Unlike a rename, a link never replaces a file created in the meantime.
        file.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(file):
            raise
        # The file system has no hard links.
        draft.rename(file)
