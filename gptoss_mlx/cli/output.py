"""What commands print. Text of others is made harmless here, for a terminal and a pipe.

What is piped is often shown in the end. Who needs the very characters asks for ``--json``.
"""

from __future__ import annotations

import io
import os
import sys

import typer

from gptoss_mlx.controls import escaped, json_text, without_controls

__all__ = [
    "print_error",
    "print_json",
    "print_line",
    "print_text",
    "say",
    "write_answer",
]


def say(line: str) -> None:
    """Print a line on what is done, to stderr."""
    # Rich shows a bar through sys.stderr, which typer.echo goes around.
    print(escaped(line), file=sys.stderr, flush=True)  # noqa: T201


def print_error(message: str, hint: str) -> None:
    """Print what is wrong, and what to do about it, to stderr."""
    error = f"Error: {escaped(message)}"
    typer.echo(typer.style(error, fg="red") if _is_coloured() else error, err=True)
    say(f"Hint: {hint}")


def print_line(line: object) -> None:
    """Print a line, such as a row of a table or a path."""
    typer.echo(escaped(str(line)))


def print_text(text: str) -> None:
    """Print a text of several lines as UTF-8."""
    _use_utf8()
    typer.echo(without_controls(text))


def print_json(value: object) -> None:
    """Print JSON as UTF-8."""
    _use_utf8()
    typer.echo(json_text(value))


def write_answer(text: str) -> None:
    """Write a piece of an answer, without a line end of its own."""
    sys.stdout.write(without_controls(text))
    sys.stdout.flush()


def _is_coloured() -> bool:
    # https://no-color.org
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not plain


def _use_utf8() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
