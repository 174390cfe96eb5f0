"""Gets a released model from the Hub into the store: download, check, convert."""

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
    """Return the command that downloads a model, or continues its download."""
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

    A model that is already in the store is left as it is. After an interruption the same
    call continues.

    Args:
        name: ``20b``, ``120b``, a repository's id, or a release.
        recipe: The recipe to convert it with. None: ``DEFAULT_RECIPE``.
        say: Called with a line about each action.
        step: Shows the progress of downloading, checking and converting.
        endpoint: The Hub's address. None: huggingface.co, or the value of HF_ENDPOINT.
        patience_s: Seconds to wait for the Hub's first answer.

    Returns:
        The converted model's folder.

    Raises:
        UnsupportedModelError: The name is not a released model's.
        ConvertError: The recipe is unknown.
        DownloadError: The Hub cannot be reached, or a file is not the released one.
        StorageError: The system refuses; NoSpaceError if the disk is too small.
    """
    release = name if isinstance(name, Release) else find_release(name)
    chosen = find_recipe(DEFAULT_RECIPE if recipe is None else recipe)
    folder = store.folder_for(release.name, chosen.name)
    if folder.exists():
        say(f"Already downloaded: {folder}")
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
    say(f"You can delete the download: {source.parents[1]}")
    return folder
