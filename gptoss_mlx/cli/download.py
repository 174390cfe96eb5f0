"""``gptoss-mlx download``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gptoss_mlx.cli.output import print_line, say

if TYPE_CHECKING:
    from pathlib import Path

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
    """Download a released model, check it, and convert it to one that runs.

    What arrives lies in the Hugging Face cache, and every shard is compared with the
    sha256 of OpenAI's release. After an interruption, the same command continues.

    Example: gptoss-mlx download 20b
    """
    print_line(download_model(model, recipe))


def download_model(model: str, recipe: str) -> Path:
    """Do what the command does, told on stderr; return the converted model's folder."""
    from gptoss_mlx.cli.progress import byte_progress
    from gptoss_mlx.sharing.get import get_model

    try:
        return get_model(model, recipe, say=say, step=byte_progress)
    except KeyboardInterrupt:
        say(f"Stopped. To continue: gptoss-mlx download {model} --recipe {recipe}")
        raise
