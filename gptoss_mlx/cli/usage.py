"""Usage errors: the user's own arguments, what is wrong, and the next command."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import typer

__all__ = ["UsageError", "UsageMessage", "usage_message"]

# Typer does not export its copy of Click; this is the base class of its errors.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

# Other programs' command names, and ours; {rest} is the text that follows.
ELSEWHERE = {
    "run": "gptoss-mlx chat {rest}",
    "start": "gptoss-mlx chat {rest}",
    "generate": "gptoss-mlx ask {rest}",
    "prompt": "gptoss-mlx ask {rest}",
    "get": "gptoss-mlx download {rest}",
    "fetch": "gptoss-mlx download {rest}",
    "install": "gptoss-mlx download {rest}",
    "list": "gptoss-mlx models",
    "ls": "gptoss-mlx models",
    "ps": "gptoss-mlx models",
    "show": "gptoss-mlx models",
    "rm": "gptoss-mlx models rm {rest}",
    "remove": "gptoss-mlx models rm {rest}",
    "delete": "gptoss-mlx models rm {rest}",
    "index": "gptoss-mlx library add {rest}",
    "search": "gptoss-mlx library search {rest}",
    "find": "gptoss-mlx library search {rest}",
    "quantize": "gptoss-mlx convert {rest}",
    "check": "gptoss-mlx doctor",
    "info": "gptoss-mlx doctor",
    "bench": "gptoss-mlx doctor {rest}",
    "help": "gptoss-mlx {rest} --help",
    "version": "gptoss-mlx --version",
}
# The same within a group.
ELSEWHERE_IN_GROUP = {
    "rm": ("remove",),
    "delete": ("remove", "rm"),
    "remove": ("rm",),
    "ls": ("list",),
    "show": ("open", "list"),
    "index": ("add",),
    "find": ("search",),
    "refresh": ("update",),
    "sync": ("update",),
}
NOT_YET = {"serve": "gptoss-mlx does not serve an API yet; ask --json is for scripts."}


class UsageMessage(NamedTuple):
    """A message for the user.

    Attributes:
        message: What is wrong, with the user's own text.
        hint: The next command.
    """

    message: str
    hint: str


def usage_message(error: Exception, arguments: Sequence[str]) -> UsageMessage:
    """Convert a usage error of Typer's to a message.

    Args:
        error: A ``UsageError``.
        arguments: The arguments after the program's name.
    """
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "gptoss-mlx"
    if context is None and arguments and arguments[0][:1] != "-":
        command = f"{command} {arguments[0]}"
    kind = type(error).__name__
    if kind == "MissingParameter":
        name = _name(error)
        return UsageMessage(f"{command} needs {name}.", _example(context, command))
    text = getattr(error, "message", str(error))
    if kind == "BadParameter":
        if getattr(error, "param", None) is None and not getattr(error, "param_hint", None):
            return UsageMessage(text, f"See {command} --help")  # it is of several
        return UsageMessage(_bad_value(error), f"See {command} --help")
    if kind == "NoSuchOption":
        option = getattr(error, "option_name", "")
        close = _close(option, context)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"See {command} --help"
        return UsageMessage(f"{command} has no option {option}.", hint)
    if kind == "BadOptionUsage":
        option = getattr(error, "option_name", "")
        # A value is one too many only where it is a part of the option's own word.
        takes_none = any(word.startswith(f"{option}=") for word in arguments)
        needs = "does not take" if takes_none else "needs"
        return UsageMessage(f"{option} {needs} a value.", f"See {command} --help")
    if text.startswith("No such command"):
        return _no_command(context, command, arguments)
    if text.startswith("Got unexpected extra"):
        extra = text.partition("(s) (")[2].removesuffix(")")
        message = f"{command} does not take {extra!r} as well."
        return UsageMessage(message, _example(context, command))
    return UsageMessage(text, f"See {command} --help")


def _name(error: Exception) -> str:
    parameter: Any = getattr(error, "param", None)
    if parameter is None:
        return str(getattr(error, "param_hint", None) or "another argument")
    options = [name for name in parameter.opts if name.startswith("-")]
    return str(options[0] if options else parameter.metavar or parameter.name.upper())


def _bad_value(error: Exception) -> str:
    """Describe what a value must be. Typer checks it with Pydantic, which has the value."""
    text = str(getattr(error, "message", error)).rstrip(".")
    reason = text.removeprefix("Value error, ").removeprefix("Input should be ")
    reason = reason.partition(", unable to parse")[0]
    reason = reason.replace("greater than or equal to", "at least")
    reason = reason.replace("less than or equal to", "at most")
    cause: Any = error.__cause__ or error.__context__
    value = None
    if hasattr(cause, "errors"):
        value = cause.errors()[0].get("input")
    name = _name(error)
    if " is not one of " in reason:
        given, _, choices = reason.partition(" is not one of ")
        return f"{name} must be one of {choices.replace(chr(39), '')} but is {given}."
    if value is None or not text.startswith("Input should be "):
        return f"{name}: {reason}."
    return f"{name} must be {reason} but is {value!r}."


def _close(option: str, context: Any) -> list[str]:
    """Find the options that one may have meant: one of the same letters or words."""
    known = [] if context is None else [n for p in context.command.params for n in p.opts]
    if option[:2] != "--":
        return [name for name in known if name == option.swapcase()]
    known = [name for name in known if name[:2] == "--"]
    word = option[2:]
    # "in" is part of many words.
    within = [
        n for n in known if len(word) > 2 and (word in n or (len(n) > 4 and n[2:] in word))
    ]
    return within or difflib.get_close_matches(option, known, n=2, cutoff=0.8)


def _no_command(context: Any, command: str, arguments: Sequence[str]) -> UsageMessage:
    # The error has the word only within a quoted text. No group has an option with a value.
    words = [word for word in arguments if word[:1] != "-" or word == "-"]
    words = words[len(command.split()) - 1 :]
    typed = words[0] if words else ""
    message = f"There is no command {typed!r}."
    if context.parent is None and (ours := _our_command(typed, arguments)):
        return UsageMessage(message, ours)
    known = context.command.list_commands(context)
    close = difflib.get_close_matches(typed, known, n=1)
    if context.parent is not None:
        close += [name for name in ELSEWHERE_IN_GROUP.get(typed, ()) if name in known]
    if close:
        return UsageMessage(message, f"Did you mean {command} {close[0]}?")
    if context.parent is not None and typed in ELSEWHERE:
        return UsageMessage(message, f"{command}, or see {command} --help")
    return UsageMessage(message, f"See {command} --help")


def _our_command(typed: str, arguments: Sequence[str]) -> str | None:
    """Return the command for what other programs have, a model, or a question."""
    # Imported here: no other mistake needs it.
    from gptoss_mlx.released_names import is_released_or_demo, released_size

    words = arguments[list(arguments).index(typed) :]
    if typed in NOT_YET:
        return NOT_YET[typed]
    if typed in ELSEWHERE:
        # Ollama's names are with a colon.
        rest = [(":" in word and released_size(word)) or word for word in words[1:]]
        if "models rm" in ELSEWHERE[typed]:
            rest = [word for word in rest if word[:1] != "-"]
        return ELSEWHERE[typed].format(rest=shlex.join(rest)).replace("  ", " ").strip()
    if is_released_or_demo(typed):
        return f"gptoss-mlx chat {released_size(typed) if ':' in typed else typed}"
    is_question = len(words) > 2 and not any(word.startswith("-") for word in words)
    if is_question or " " in typed.strip():
        question = " ".join(" ".join(words).split())
        return f"To ask it: gptoss-mlx ask {shlex.quote(question)}"
    return None


def _example(context: Any, command: str) -> str:
    """Return the example at the end of the command's help."""
    text = (context.command.help or "") if context is not None else ""
    _, found, example = text.rpartition("Example:")
    return " ".join(example.split()) if found else f"See {command} --help"
