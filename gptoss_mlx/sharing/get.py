"""Gets a released model from the Hub into the store: download, check, convert."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.convert.pipeline import Conversion, convert_checkpoint
from gptoss_mlx.convert.recipe_file import find_recipe
from gptoss_mlx.convert.recipes import ChooseRecipe, default_recipe
from gptoss_mlx.macos import awake
from gptoss_mlx.released_names import released_size
from gptoss_mlx.sharing.arriving import arriving_release, remove_arrived
from gptoss_mlx.sharing.download import (
    PATIENCE_S,
    Step,
    fetch_release,
    find_release,
    in_silence,
    size_text,
)
from gptoss_mlx.sharing.hub import Hub
from gptoss_mlx.sharing.releases import Release

__all__ = ["download_command", "get_model"]


def download_command(name: str, recipe: str | None, *, keep: bool = True) -> str:
    """Return the command that downloads a model, or continues its download."""
    options = [] if recipe is None else ["--recipe", recipe]
    options += [] if keep else ["--convert"]
    return shlex.join(["gptoss-mlx", "download", name, *options])


def get_model(
    name: str | Release,
    recipe: str | None = None,
    *,
    choose: ChooseRecipe = default_recipe,
    keep: bool = True,
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
        recipe: The recipe to convert it with, as in ``convert_checkpoint``. None: the one
            that ``choose`` returns.
        choose: Chooses the recipe if none is named.
        keep: Whether the whole download is kept in the Hugging Face cache. Otherwise each
            file of the weights is converted as it arrives and then removed, so that the
            disk needs room for the model and two of the files.
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
    reason = ""
    if recipe is None:
        recipe, reason = choose(released_size(release.name))
    chosen = find_recipe(recipe)
    folder = store.folder_for(release.name, chosen.name)
    if folder.exists():
        remove_arrived(release)  # by a run that was killed at its very end
        say(f"Already downloaded: {folder}")
        return folder
    if reason:
        say(reason)
    typed = release.repository if isinstance(name, Release) else name
    command = download_command(typed, recipe, keep=keep)
    with awake():
        if not keep:
            hub = Hub(
                release.repository, release.revision, endpoint=endpoint, command=command
            )
            conversion = _convert_arriving(
                release, folder, recipe, hub, say=say, step=step, patience_s=patience_s
            )
            remove_arrived(release)
            say(f"Digest: {conversion.model_id}")
            return folder
        source = fetch_release(
            release,
            command=command,
            say=say,
            step=step,
            endpoint=endpoint,
            patience_s=patience_s,
        )
        with step("Converting") as progress:
            conversion = convert_checkpoint(
                source,
                folder,
                recipe=recipe,
                only=release.files.keys(),
                sha256={name: pin.sha256 for name, pin in release.files.items()},
                progress=progress,
                notice=say,
            )
    remove_arrived(release)
    say(f"Digest: {conversion.model_id}")
    say(f"You can delete the download: {source.parents[1]}")
    return folder


def _convert_arriving(
    release: Release,
    folder: Path,
    recipe: str,
    hub: Hub,
    *,
    say: Callable[[str], None],
    step: Step,
    patience_s: float,
) -> Conversion:
    """Convert the weights file by file as they arrive."""
    say(
        f"Downloading {release.repository}, {size_text(release.nbytes)}. "
        "Each file is converted as it arrives, and then removed."
    )
    arriving = arriving_release(release, hub, say=say, step=step, patience_s=patience_s)
    with arriving as arrivals, step("Downloading and converting") as progress:
        arrivals.progress = progress
        return convert_checkpoint(
            arrivals.folder,
            folder,
            recipe=recipe,
            only=release.files.keys(),
            sha256={name: pin.sha256 for name, pin in release.files.items()},
            arrivals=arrivals,
            notice=say,
        )
