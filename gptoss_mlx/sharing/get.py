"""A released model from the Hub to the store: downloaded, checked, converted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.recipes import DEFAULT_RECIPE, find_recipe
from gptoss_mlx.macos import awake
from gptoss_mlx.sharing.download import (
    Progress,
    check_release,
    fetch_release,
    find_release,
)
from gptoss_mlx.sharing.releases import Release

__all__ = ["Step", "get_model"]

Step = Callable[[str], AbstractContextManager[Progress]]
"""Called with what begins, e.g. ``Checking``; what it gives hears how far that is."""


@contextmanager
def _in_silence(task: str) -> Iterator[Progress]:
    yield lambda done, total: None


def get_model(
    name: str | Release,
    recipe: str | None = None,
    *,
    say: Callable[[str], None] = lambda line: None,
    step: Step = _in_silence,
    endpoint: str | None = None,
) -> Path:
    """Download a released model, check it, and convert it into the store.

    What is there already is left as it is. After an interruption the same call goes on.

    Args:
        name: ``20b``, ``120b``, a repository's id, or a release.
        recipe: What it is converted by. None: ``DEFAULT_RECIPE``.
        say: Called with a line on what is done.
        step: Gives a progress for checking and for converting.
        endpoint: The Hub's address. None: huggingface.co, or what HF_ENDPOINT says.

    Returns:
        The converted model's folder.

    Raises:
        UnsupportedModelError: There is no such model to download.
        ConvertError: There is no such recipe.
        DownloadError: The Hub cannot be reached, or a shard is not the released one.
        StorageError: The disk refuses; NoSpaceError where it is too small.
    """
    release = name if isinstance(name, Release) else find_release(name)
    chosen = find_recipe(DEFAULT_RECIPE if recipe is None else recipe)
    folder = store.folder_for(release.name, chosen.name)
    if folder.exists():
        say("It is here already.")
        return folder
    say(f"Downloading {release.repository}, {release.nbytes / 1e9:.1f} GB.")
    with awake():
        source = fetch_release(release, endpoint=endpoint)
        with step("Checking") as progress:
            check_release(source, release, progress=progress)
        with step("Converting") as progress:
            convert_checkpoint(
                source, folder, recipe=chosen.name, progress=progress, notice=say
            )
    say(f"The download itself may go: {source.parents[1]}")
    return folder
