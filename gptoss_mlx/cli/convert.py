"""``gptoss-mlx convert``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gptoss_mlx.cli.options import CheckpointArg, RecipeOpt
from gptoss_mlx.cli.output import print_line
from gptoss_mlx.controls import escaped

__all__ = ["convert"]


def convert(
    source: CheckpointArg,
    destination: Annotated[
        Path | None,
        typer.Argument(
            readable=False,  # an error of our own says more
            metavar="DST",
            help="Folder to write; it must not exist.  [default: in the store]",
            show_default=False,
        ),
    ] = None,
    recipe: RecipeOpt = None,
    consume: Annotated[
        bool,
        typer.Option(
            "--consume",
            help="Remove each safetensors file of SRC once it is converted. Of the "
            "Hugging Face cache, the file itself.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
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
    from gptoss_mlx.fit.recipe import recipe_here
    from gptoss_mlx.macos import awake
    from gptoss_mlx.released_names import released_size

    size = released_size(str(source))
    if size is not None and not source.is_dir():
        raise NoCheckpointError(
            f"{source} is not a folder, and is downloaded and converted in one.",
            hint=f"gptoss-mlx download {size}",
        )
    if consume and not yes and not _may_consume(source):
        return
    try:
        with awake(), byte_progress("Converting") as progress:
            conversion = convert_checkpoint(
                source,
                destination,
                recipe=recipe,
                choose=recipe_here,
                consume=consume,
                progress=progress,
                notice=say,
            )
    except KeyboardInterrupt:
        command = ["gptoss-mlx", "convert", str(source)]
        command += [str(destination)] if destination is not None else []
        command += ["--recipe", recipe] if recipe is not None else []
        command += ["--consume"] if consume else []
        command += ["--yes"] if yes else []
        say(f"Stopped. To continue: {shlex.join(command)}")
        raise
    print_line(conversion.folder)
    say(f"Digest: {conversion.model_id}")


def _may_consume(source: Path) -> bool:
    """Ask whether the source's files may be removed.

    Raises:
        AnswerError: There is nobody to ask.
        NoCheckpointError: The source is not a folder.
        StorageError: The folder cannot be read.
    """
    import sys

    from gptoss_mlx.cli.progress import size_text
    from gptoss_mlx.convert.consume import remaining_files
    from gptoss_mlx.errors import AnswerError

    files, nbytes = remaining_files(source)
    if not files:
        return True
    if not sys.stdin.isatty():
        raise AnswerError(
            f"The files of {source} are not removed without confirmation.",
            hint=shlex.join(["gptoss-mlx", "convert", "--consume", "--yes", str(source)]),
        )
    count = "1 file" if len(files) == 1 else f"{len(files)} files"
    question = (
        f"Remove {count} of {escaped(str(source))} ({size_text(nbytes)}), "
        "each once it is converted?"
    )
    return typer.confirm(question, default=False, err=True)
