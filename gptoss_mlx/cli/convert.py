"""``gptoss-mlx convert``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from gptoss_mlx.cli.options import CheckpointArg

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
    """Convert a released checkpoint to one that runs.

    SRC is in Hugging Face's layout or OpenAI's (original/). Experts keep the released
    bytes. gptoss-mlx and mlx-lm run what is written. After an interruption, the same
    command continues.

    Example: gptoss-mlx convert ~/Downloads/gpt-oss-20b
    """
    from gptoss_mlx.cli.progress import byte_progress
    from gptoss_mlx.convert.pipeline import convert_checkpoint

    def say(sentence: str) -> None:
        typer.echo(sentence, err=True)

    folder = destination if destination is not None else _in_store(source, recipe)
    try:
        with byte_progress("Converting") as progress:
            conversion = convert_checkpoint(
                source, folder, recipe=recipe, progress=progress, notice=say
            )
    except KeyboardInterrupt:
        command = ["gptoss-mlx", "convert", str(source)]
        command += [str(destination)] if destination is not None else []
        command += ["--recipe", recipe]
        say(f"Stopped. To continue: {shlex.join(command)}")
        raise
    typer.echo(conversion.folder)


def _in_store(source: Path, recipe: str) -> Path:
    from gptoss_mlx.checkpoint.layout import check_folder
    from gptoss_mlx.config_json import read_config
    from gptoss_mlx.store import model_size, models_folder

    check_folder(source)
    config = read_config(source)
    size = model_size(config.num_hidden_layers, config.num_local_experts)
    root = source.resolve()
    if root.name == "original":
        root = root.parent
    name = f"gpt-oss-{size}" if size else root.name
    if not size and root.parent.name == "snapshots":  # in the Hugging Face cache
        name = root.parent.parent.name.rpartition("--")[2]
    return models_folder() / f"{name}-{recipe}"
