"""A released model from the Hub to the store: downloaded, checked, converted."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.recipes import DEFAULT_RECIPE, find_recipe
from gptoss_mlx.macos import awake
from gptoss_mlx.sharing.download import (
    PATIENCE_S,
    Step,
    fetch_release,
    find_release,
    in_silence,
)
from gptoss_mlx.sharing.releases import Release

__all__ = ["download_command", "get_model"]


def download_command(name: str, recipe: str) -> str:
    """Return the command that downloads a model, or goes on with it."""
    return shlex.join(["gptoss-mlx", "download", name, "--recipe", recipe])


def get_model(
    name: str | Release,
    recipe: str | None = None,
    *,
    say: Callable[[str], None] = lambda line: None,
    step: Step = in_silence,
    endpoint: str | None = None,
    patience_s: float = PATIENCE_S,
) -> Path:
    """Download a released model, check it, and convert it into the store.

    What is there already is left as it is. After an interruption the same call goes on.

    Args:
        name: ``20b``, ``120b``, a repository's id, or a release.
        recipe: What it is converted by. None: ``DEFAULT_RECIPE``.
        say: Called with a line on what is done.
        step: Gives a progress for downloading, for checking and for converting.
        endpoint: The Hub's address. None: huggingface.co, or what HF_ENDPOINT says.
        patience_s: How long the Hub's first answer may take.

    Returns:
        The converted model's folder.

    Raises:
        UnsupportedModelError: There is no such model to download.
        ConvertError: There is no such recipe.
        DownloadError: The Hub cannot be reached, or a file is not the released one.
        StorageError: The disk refuses; NoSpaceError where it is too small.
    """
    release = name if isinstance(name, Release) else find_release(name)
    chosen = find_recipe(DEFAULT_RECIPE if recipe is None else recipe)
    folder = store.folder_for(release.name, chosen.name)
    if folder.exists():
        say("It is here already.")
        return folder
    typed = release.repository if isinstance(name, Release) else name
    with awake():
        source = fetch_release(
            release,
            command=download_command(typed, chosen.name),
            say=say,
            step=step,
            endpoint=endpoint,
            patience_s=patience_s,
        )
        with step("Converting") as progress:
            convert_checkpoint(
                source,
                folder,
                recipe=chosen.name,
                only=release.files.keys(),
                progress=progress,
                notice=say,
            )
    say(f"The download itself may go: {source.parents[1]}")
    return folder
