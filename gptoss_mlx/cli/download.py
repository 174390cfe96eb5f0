"""``gptoss-mlx download``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.options import RecipeOpt
from gptoss_mlx.cli.output import print_line, say

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from gptoss_mlx.sharing.repository import Repository

__all__ = ["download", "download_model", "interrupted_once"]


def download(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="20b, 120b, or a model on the Hub in MLX's format: USER/REPO[@DIGEST].",
            show_default=False,
        ),
    ],
    recipe: RecipeOpt = None,
    convert: Annotated[
        bool,
        typer.Option(
            "--convert",
            help="Convert each file as it arrives, then remove it: the disk needs room "
            "for the model and two files, not for the download.",
        ),
    ] = False,
) -> None:
    """Download a released model, check it, and convert it.

    The files go to the Hugging Face cache, except with --convert, and each one is
    compared with the sha256 of OpenAI's release. After an interruption, the same
    command continues where it stopped.

    A converted model of somebody else, USER/REPO, is run as it is: each file is compared
    with its manifest, and the manifest with DIGEST. Without a manifest, as of
    mlx-community's models, with the sha256 that the Hub lists.

    Example: gptoss-mlx download 20b
    """
    from gptoss_mlx.released_names import released_size
    from gptoss_mlx.sharing.repository import parse_repository

    repository = parse_repository(model)
    if repository is not None and released_size(repository.id) is None:
        if recipe is not None or convert:
            raise typer.BadParameter(
                f"is for OpenAI's releases; {repository.id} is used as it is.",
                param_hint="--convert" if convert else "--recipe",
            )
        _download_as_it_is(repository)
        return
    print_line(download_model(model, recipe, keep=not convert))


def download_model(
    model: str,
    recipe: str | None,
    *,
    keep: bool = True,
    patience_s: float | None = None,
) -> Path:
    """Run the download with messages on stderr; return the converted model's folder.

    Args:
        model: The model's name as typed.
        recipe: The recipe to convert it with. None: by what fits this machine.
        keep: Whether the whole download is kept in the Hugging Face cache.
        patience_s: Seconds to wait for the Hub's first answer. None: the default.
    """
    from gptoss_mlx.cli.progress import byte_progress
    from gptoss_mlx.fit.recipe import recipe_here
    from gptoss_mlx.sharing.download import PATIENCE_S
    from gptoss_mlx.sharing.get import download_command, get_model

    try:
        with interrupted_once():
            return get_model(
                model,
                recipe,
                choose=recipe_here,
                keep=keep,
                say=say,
                step=byte_progress,
                patience_s=PATIENCE_S if patience_s is None else patience_s,
            )
    except (KeyboardInterrupt, SystemExit):
        # A signal to end raises SystemExit.
        say(f"Stopped. To continue: {download_command(model, recipe, keep=keep)}")
        raise


def _download_as_it_is(repository: Repository) -> None:
    """Download a model that runs as it is; print its folder."""
    from gptoss_mlx.cli.progress import byte_progress
    from gptoss_mlx.sharing.hub_model import fetch_command, fetch_model

    try:
        with interrupted_once():
            model = fetch_model(repository, say=say, step=byte_progress)
    except (KeyboardInterrupt, SystemExit):
        say(f"Stopped. To continue: {fetch_command(repository)}")
        raise
    if model.model_id is None:
        say("It has no manifest: the files are as the Hub lists them.")
    else:
        say(f"Every byte is as in the manifest: {model.model_id}")
    print_line(model.folder)
    say(f"To use it: gptoss-mlx chat {repository.id}")


@contextmanager
def interrupted_once() -> Iterator[None]:
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
