"""Registers the commands and turns errors into messages."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from gptoss_mlx import __version__
from gptoss_mlx.cli.ask import ask
from gptoss_mlx.cli.chat import chat
from gptoss_mlx.cli.convert import convert
from gptoss_mlx.cli.doctor import doctor
from gptoss_mlx.cli.download import download
from gptoss_mlx.cli.harmony import harmony
from gptoss_mlx.cli.models import list_models
from gptoss_mlx.cli.output import print_error
from gptoss_mlx.cli.verify import verify
from gptoss_mlx.errors import GptOssError

__all__ = ["app", "main"]

app = typer.Typer(
    name="gptoss-mlx",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Rich takes longer to import than all the rest of --help takes to run.
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gptoss-mlx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Run OpenAI's gpt-oss models on Apple silicon."""


app.command()(ask)
app.command()(chat)
app.command()(convert)
app.command()(doctor)
app.command()(download)
app.add_typer(harmony, name="harmony")
app.command("models")(list_models)
app.command()(verify)


def main() -> None:
    """Run the command line and exit.

    The exit status is the command's own, or 1 for a GptOssError, 2 for bad usage, 130 for
    Ctrl-C, and 128 and its number for another signal.
    """
    _open_closed_streams()
    _leave_in_order()
    try:
        try:
            app()
        finally:
            # A closed pipe must be noticed here, not at the interpreter's exit.
            sys.stdout.flush()
    except GptOssError as error:
        if os.environ.get("GPTOSS_DEBUG"):
            raise
        print_error(str(error), error.hint)
        sys.exit(1)
    except BrokenPipeError:
        # What is still buffered has no reader, and the interpreter flushes once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # A disk that is full under stdout; every other refusal is a StorageError.
        if os.environ.get("GPTOSS_DEBUG"):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print_error(f"{error.strerror or error}.", "Free some space where output goes.")
        sys.exit(1)
    except KeyboardInterrupt:
        _exit_soon(130)
    except SystemExit as error:
        if isinstance(error.code, int) and error.code > 128:
            _exit_soon(error.code)
        raise


def _exit_soon(status: int) -> NoReturn:
    """Exit, and do not wait for a step that a model is computing."""
    # Not imported: a command without a model has no need of MLX.
    compute_thread = sys.modules.get("gptoss_mlx.generation.compute_thread")
    if compute_thread is not None and compute_thread.is_computing():
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _open_closed_streams() -> None:
    """Give closed standard streams the null device: no other file gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - for good


def _leave_in_order() -> None:
    """Clean up when told to end: a terminal gets its cursor and its lines back."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has it ignored, and means that.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
