"""``gptoss-mlx download``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = ["download", "download_and_convert"]


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
    typer.echo(download_and_convert(model, recipe))


def download_and_convert(model: str, recipe: str) -> str:
    """Do what the command does; return the converted model's folder."""
    import os

    # Read where huggingface_hub is imported: nobody is told more than what is fetched.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from gptoss_mlx.cli.progress import byte_progress
    from gptoss_mlx.convert.pipeline import convert_checkpoint
    from gptoss_mlx.sharing.download import check_release, fetch_release, find_release
    from gptoss_mlx.store import models_folder

    release = find_release(model)
    folder = models_folder() / f"{release.repository.rpartition('/')[2]}-{recipe}"

    def say(sentence: str) -> None:
        typer.echo(sentence, err=True)

    if folder.exists():
        say("It is here already.")
        return str(folder)
    try:
        say(f"Downloading {release.repository}, {release.nbytes / 1e9:.1f} GB.")
        source = fetch_release(release)
        with byte_progress("Checking") as progress:
            check_release(source, release, progress=progress)
        with byte_progress("Converting") as progress:
            conversion = convert_checkpoint(
                source, folder, recipe=recipe, progress=progress, notice=say
            )
    except KeyboardInterrupt:
        say(f"Stopped. To continue: gptoss-mlx download {model} --recipe {recipe}")
        raise
    say(f"The download itself may go: {source.parents[1]}")
    return str(conversion.folder)
