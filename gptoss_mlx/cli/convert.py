"""``gptoss-mlx convert``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from gptoss_mlx.cli.options import CheckpointArg
from gptoss_mlx.cli.output import print_line

__all__ = ["convert"]


def convert(
    source: CheckpointArg,
    destination: Annotated[
        Path | None,
        typer.Argument(
            metavar="DST",
            help="Folder to write; it must not exist.  [default: in the store]",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Literal["exact", "q8"],
        typer.Option(
            help="exact: as released. q8: attention, embedding and lm_head in 8 bits."
        ),
    ] = "q8",
) -> None:
    """Convert a released checkpoint to a model to run.

    SRC is in Hugging Face's layout or OpenAI's (original/). Experts keep the released
    bytes. gptoss-mlx and mlx-lm load the result. After an interruption, the same
    command continues.

    Example: gptoss-mlx convert ~/Downloads/gpt-oss-20b
    """
    from gptoss_mlx.cli.output import say
    from gptoss_mlx.cli.progress import byte_progress
    from gptoss_mlx.convert.pipeline import convert_checkpoint
    from gptoss_mlx.errors import NoCheckpointError
    from gptoss_mlx.macos import awake
    from gptoss_mlx.released_names import released_size

    size = released_size(str(source))
    if size is not None and not source.is_dir():
        raise NoCheckpointError(
            f"{source} is not a folder, and is downloaded and converted in one.",
            hint=f"gptoss-mlx download {size}",
        )
    try:
        with awake(), byte_progress("Converting") as progress:
            conversion = convert_checkpoint(
                source, destination, recipe=recipe, progress=progress, notice=say
            )
    except KeyboardInterrupt:
        command = ["gptoss-mlx", "convert", str(source)]
        command += [str(destination)] if destination is not None else []
        command += ["--recipe", recipe]
        say(f"Stopped. To continue: {shlex.join(command)}")
        raise
    print_line(conversion.folder)
