"""Registers the commands and turns errors into messages."""

from __future__ import annotations

import contextlib
import errno
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
from gptoss_mlx.cli.fit import fit
from gptoss_mlx.cli.harmony import harmony
from gptoss_mlx.cli.library import library
from gptoss_mlx.cli.models import models
from gptoss_mlx.cli.output import print_error
from gptoss_mlx.cli.pull import pull
from gptoss_mlx.cli.share import share
from gptoss_mlx.cli.streams import (
    has_lost_its_reader,
    is_stdout_error,
    open_closed_streams,
    print_in_any_encoding,
    watch_stdout,
)
from gptoss_mlx.cli.usage import UsageError, usage_message
from gptoss_mlx.cli.verify import verify
from gptoss_mlx.errors import GptOssError, NoSpaceError

__all__ = ["app", "main"]

app = typer.Typer(
    name="gptoss-mlx",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Importing Rich takes longer than the rest of --help.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
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
            "-V",
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
app.command()(fit)
app.add_typer(harmony, name="harmony")
app.add_typer(library, name="library")
app.add_typer(models, name="models")
app.command()(pull)
app.command()(share)
app.command()(verify)


def main() -> None:
    """Run the command line and exit.

    The exit status is the command's own, or 1 for a GptOssError, 2 for bad usage, 130 for
    Ctrl-C, and 128 and its number for another signal. If the reader of stdout is gone, as
    after ``| head -1``, it is that of SIGPIPE: 1 may mean that nothing was found.
    """
    try:
        open_closed_streams()
        print_in_any_encoding()
        watch_stdout()
        _leave_in_order()
        try:
            status = app(prog_name="gptoss-mlx", standalone_mode=False)
        finally:
            # A closed pipe must be detected here, not at the interpreter's exit.
            sys.stdout.flush()
        if isinstance(status, int) and status:
            if status > 128:
                _exit_soon(status)
            sys.exit(status)
        sys.exit(0)
    except UsageError as error:
        _refuse(error)
    except typer.Abort:
        sys.exit(1)
    except GptOssError as error:
        if os.environ.get("GPTOSS_DEBUG"):
            raise
        print_error(str(error), error.hint)
        sys.exit(1)
    except BrokenPipeError:
        # The buffer has no reader any more, and the interpreter would flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if os.environ.get("GPTOSS_DEBUG"):
            raise
        _print_system_error(error)
        sys.exit(1)
    except KeyboardInterrupt:
        _exit_soon(130)
    except SystemExit as error:
        if isinstance(error.code, int) and error.code > 128:
            _exit_soon(error.code)
        if has_lost_its_reader():  # typer has exited with 1
            sys.exit(128 + signal.SIGPIPE)
        raise


def _refuse(error: Exception) -> NoReturn:
    """Print what is wrong with the arguments, and exit with 2."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(str(error), err=True)
    else:
        print_error(*usage_message(error, sys.argv[1:]))
    sys.exit(2)


def _exit_soon(status: int) -> NoReturn:
    """Exit without waiting for a step that a model is computing."""
    # Not imported here: a command without a model does not load MLX.
    compute_thread = sys.modules.get("gptoss_mlx.generation.compute_thread")
    if compute_thread is not None and compute_thread.is_computing():
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _leave_in_order() -> None:
    """Clean up on a signal to end, so that the terminal gets its cursor and modes back."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup ignores the signal, on purpose.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    # On a second signal the clean-up is already running.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _print_system_error(error: OSError) -> None:
    """Print an error of the operating system that no other code has handled."""
    reason = error.strerror or str(error) or type(error).__name__
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if is_stdout_error(error):
        # The buffer cannot be written, and the interpreter would try again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        hint = (
            "Free some space where output goes." if is_full else "Check where output goes."
        )
        print_error(f"{reason}.", hint)
        return
    where = f"{error.filename}: " if error.filename else ""
    print_error(f"{where}{reason}.", NoSpaceError.hint if is_full else GptOssError.hint)
