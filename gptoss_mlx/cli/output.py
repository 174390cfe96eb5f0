"""What commands print. Text of others is made harmless here, for a terminal and a pipe.

What is piped is often shown in the end. Who needs the very characters asks for ``--json``.
A terminal gets lines that are wrapped between words; a pipe gets each line whole.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO

import typer

from gptoss_mlx.controls import escaped, json_text, without_controls

__all__ = [
    "columns_of",
    "print_error",
    "print_json",
    "print_line",
    "print_rows",
    "print_styled",
    "print_text",
    "say",
    "write_answer",
    "write_reasoning",
]


COLUMNS = 80
"""The width of a terminal that does not tell it."""

# A command after a colon, to the end of its sentence.
_COMMAND = re.compile(
    r"""(?<=:\ )(?:gptoss-mlx|pip|sudo)(?:\ (?:"[^"]*"|'[^']*'|[^\s"'])+(?<![.;,]))*""",
    re.VERBOSE,
)

# What is beside a label must have this much room.
MIN_COLUMNS = 24


def say(line: str) -> None:
    """Print a line on what is done, to stderr."""
    _print(_wrapped(escaped(line), sys.stderr), sys.stderr)


def print_error(message: str, hint: str) -> None:
    """Print what is wrong, and what to do about it, to stderr."""
    error = _wrapped(f"Error: {escaped(message)}", sys.stderr)
    _print(typer.style(error, fg="red") if _is_coloured() else error, sys.stderr)
    say(f"Hint: {hint}")


def print_line(line: object) -> None:
    """Print a line, such as a path or an answer in one line.

    Where it is wrapped, its indentation stays.
    """
    text = escaped(str(line))
    bare = text.lstrip(" ")
    _print(_wrapped(bare, sys.stdout, label=text[: len(text) - len(bare)]), sys.stdout)


def print_styled(line: str) -> None:
    """Print a line whose styles are made here, and whose other text is escaped."""
    _print(line, sys.stdout)


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print rows of two columns, each with what it is about and what is said of it."""
    lines = [(escaped(name), escaped(text)) for name, text in rows]
    width = max((len(name) for name, _ in lines), default=0) + 2
    for name, text in lines:
        row = _wrapped(text, sys.stdout, label=name.ljust(width))
        _print(row.rstrip(), sys.stdout)


def print_text(text: str) -> None:
    """Print a text of several lines as UTF-8."""
    _use_utf8()
    _print(without_controls(text), sys.stdout)


def print_json(value: object) -> None:
    """Print JSON as UTF-8."""
    _use_utf8()
    _print(json_text(value), sys.stdout)


def write_answer(text: str) -> None:
    """Write a piece of an answer to stdout, without a line end of its own."""
    _print(without_controls(text), sys.stdout, end="")


def write_reasoning(text: str) -> None:
    """Write a piece of the reasoning to stderr, without a line end of its own."""
    _print(without_controls(text), sys.stderr, end="")


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    # Not typer.echo, which goes around the bar that Rich shows through sys.stderr, and
    # writes UTF-8 to a stream that takes ASCII.
    print(text, end=end, file=stream, flush=True)


def _is_coloured() -> bool:
    # https://no-color.org
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not plain


def _use_utf8() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")


def _wrapped(text: str, stream: TextIO, label: str = "") -> str:
    """Break a line between words where it is longer than a terminal is wide.

    A path or a command stays in one piece, so that it can be copied.

    Args:
        text: One line.
        stream: Where it goes. Nothing is broken unless this is a terminal.
        label: What stands before the text. The other lines begin below the text.
    """
    if not stream.isatty():
        return label + text
    # Imported here: most commands print nothing that is long.
    from rich.cells import cell_len

    columns = columns_of(stream)
    if cell_len(label + text) <= columns:
        return label + text
    indent = " " * cell_len(label)
    if columns - len(indent) < MIN_COLUMNS:
        indent = "  "
    lines, line, space = [], label, ""
    for word in _words(text):
        if line.strip() and cell_len(line + space + word) > columns:
            lines.append(line.rstrip())
            fits = cell_len(indent + word) <= columns
            line, space = indent if fits else "", ""
        line += space + word
        space = " "
    return "\n".join([*lines, line])


def _words(text: str) -> Iterator[str]:
    """Split a line where it may be broken."""
    end = 0
    for found in _COMMAND.finditer(text):
        yield from _paths_whole(text[end : found.start()].split())
        stop = text.find(" ", found.end())
        end = len(text) if stop < 0 else stop
        yield text[found.start() : end]
    yield from _paths_whole(text[end:].split())


def _paths_whole(words: list[str]) -> Iterator[str]:
    """Join the words of a path that has spaces in it."""
    while words:
        count = 1
        if words[0].startswith("/"):
            ends = range(len(words), 1, -1)
            count = next((end for end in ends if _is_path(" ".join(words[:end]))), 1)
        yield " ".join(words[:count])
        del words[:count]


def _is_path(text: str) -> bool:
    return os.path.lexists(text) or os.path.lexists(text.rstrip(".:,;"))


def columns_of(stream: TextIO) -> int:
    """Return how wide a terminal is, or what a person has set with ``COLUMNS``."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or COLUMNS
    except (OSError, ValueError):
        return COLUMNS
