"""``gptoss-mlx download``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gptoss_mlx.cli.output import print_line, say

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

__all__ = ["download", "download_model"]


def download(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="20b or 120b.", show_default=False),
    ],
    recipe: Annotated[
        Literal["exact", "q8"],
        typer.Option(
            help="exact: as released. q8: attention, embedding and lm_head in 8 bits."
        ),
    ] = "q8",
) -> None:
    """Download a released model, check it, and convert it.

    The files go to the Hugging Face cache, and each one is compared with the
    sha256 of OpenAI's release. After an interruption, the same command continues where
    it stopped.

    Example: gptoss-mlx download 20b
    """
    print_line(download_model(model, recipe))


def download_model(model: str, recipe: str, *, patience_s: float | None = None) -> Path:
    """Run the download with messages on stderr; return the converted model's folder.

    Args:
        model: The model's name as typed.
        recipe: The recipe to convert it with.
        patience_s: Seconds to wait for the Hub's first answer. None: the default.
    """
    from gptoss_mlx.cli.progress import byte_progress
    from gptoss_mlx.sharing.download import PATIENCE_S
    from gptoss_mlx.sharing.get import download_command, get_model

    try:
        with _interrupted_once():
            return get_model(
                model,
                recipe,
                say=say,
                step=byte_progress,
                patience_s=PATIENCE_S if patience_s is None else patience_s,
            )
    except (KeyboardInterrupt, SystemExit):
        # A signal to end raises SystemExit.
        say(f"Stopped. To continue: {download_command(model, recipe)}")
        raise


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """Ignore a second Ctrl-C while the first one cleans up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # Otherwise the signal is ignored, or handled by the caller.
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise  # the process ends
    except BaseException:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise
    else:
        signal.signal(signal.SIGINT, signal.default_int_handler)
