"""Downloads a released checkpoint from the Hugging Face Hub into its cache, and checks it.

The release pins every file, so no answer of the Hub or of a mirror is trusted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from gptoss_mlx.errors import (
    DownloadError,
    NoSpaceError,
    UnsupportedModelError,
    storage_errors,
)
from gptoss_mlx.macos import free_space_hint
from gptoss_mlx.released_names import released_size
from gptoss_mlx.sharing.hub import Hub, hub_cache_root
from gptoss_mlx.sharing.hub_cache import CachedRelease
from gptoss_mlx.sharing.releases import RELEASES, Release
from gptoss_mlx.sharing.transfer import Progress, Wanted, transfer

__all__ = [
    "PATIENCE_S",
    "Step",
    "Telling",
    "fetch_files",
    "fetch_release",
    "find_downloaded",
    "find_release",
    "in_silence",
    "size_text",
]

Telling = Callable[[str], None]
"""Called with a sentence."""

Step = Callable[[str], AbstractContextManager[Progress]]
"""Called with a task's name, e.g. ``Checking``; yields a function for its progress."""

PATIENCE_S = 30.0
"""Seconds to wait for the Hub's first answer."""


@contextmanager
def in_silence(task: str) -> Iterator[Progress]:
    """A ``Step`` that shows nothing."""
    yield lambda done, total: None


def find_release(name: str) -> Release:
    """Return the release named by ``20b``, ``120b`` or a repository's id.

    Raises:
        UnsupportedModelError: The name is not one of the two models'.
    """
    size = released_size(name)
    if size is None:
        raise UnsupportedModelError(
            f"A model to download must be 20b or 120b but is {name!r}.",
            hint="Download the smaller one: gptoss-mlx download 20b; or name a model on "
            "the Hub, USER/REPO.",
        )
    return RELEASES[size]


def find_downloaded(size: str) -> Path | None:
    """Return the folder of a released model in the Hugging Face cache, if it is whole.

    Args:
        size: ``20b`` or ``120b``.

    Raises:
        DownloadError: The cache cannot be used as the environment sets it up.
        StorageError: The disk refuses.
    """
    return CachedRelease(RELEASES[size], hub_cache_root()).whole()


def fetch_release(
    release: Release,
    *,
    command: str,
    say: Callable[[str], None] = lambda line: None,
    step: Step = in_silence,
    endpoint: str | None = None,
    patience_s: float = PATIENCE_S,
) -> Path:
    """Download the missing files of a release, and check all files.

    Args:
        release: The release.
        command: The command that continues after an interruption, for hints.
        say: Called with a sentence about other events.
        step: Shows the progress of downloading and of checking.
        endpoint: The Hub's address. None: huggingface.co, or the value of HF_ENDPOINT.
        patience_s: Seconds to wait for the Hub's first answer.

    Returns:
        A folder of the Hugging Face cache, in which all of ``release.files`` are correct.

    Raises:
        DownloadError: The Hub cannot be reached, or sends other files.
        NoSpaceError: The disk is too small for the missing files.
        StorageError: The system refuses for another reason.
    """
    cache = CachedRelease(release, hub_cache_root())
    hub = Hub(release.repository, release.revision, endpoint=endpoint, command=command)
    with cache.held(say):
        for name in release.files:
            cache.take_leftovers(name)
        fetch_files(
            hub,
            cache,
            release,
            release.files.keys(),
            tell=lambda files: _tell(release, files, say),
            say=say,
            step=step,
            patience_s=patience_s,
        )
    return cache.snapshot


def fetch_files(
    hub: Hub,
    cache: CachedRelease,
    release: Release,
    names: Collection[str],
    *,
    tell: Callable[[list[Wanted]], None] = lambda files: None,
    say: Telling,
    step: Step,
    patience_s: float,
) -> None:
    """Download those of these files that a locked cache does not have, and check all.

    Args:
        tell: Called with the files before they are downloaded.

    Raises:
        GptOssError: As ``fetch_release``.
    """
    unchecked = set(names)
    wrong: list[str] = []
    for _ in range(2):
        if wrong:
            say(f"{', '.join(wrong)}: not as released. Downloading again from byte 0.")
        missing = [name for name in sorted(unchecked) if cache.find(name) is None]
        files = [
            Wanted(name, release.files[name].nbytes, cache.partial(name))
            for name in missing
        ]
        _check_room(cache.folder, files)
        if files:
            tell(files)
            with step("Downloading") as progress:
                transfer(hub, files, progress=progress, say=say, patience_s=patience_s)
        with step("Checking") as progress:
            wrong = _check(cache, release, unchecked, progress)
        if not wrong:
            return
        unchecked = set(wrong)
    raise DownloadError(
        f"{', '.join(wrong)} must be as {release.repository} was released, but the "
        "Hub twice sent files with another sha256.",
        hint=hub.place_hint(),
    )


def _tell(release: Release, files: list[Wanted], say: Callable[[str], None]) -> None:
    missing = sum(file.nbytes for file in files) - sum(file.have for file in files)
    here = release.nbytes - missing
    already = f", of which {size_text(here)} are here" if here else ""
    say(f"Downloading {release.repository}, {size_text(release.nbytes)}{already}.")


def size_text(nbytes: int) -> str:
    """Return a number of bytes as text, in MB or GB."""
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"


def _check(
    cache: CachedRelease, release: Release, names: set[str], progress: Progress
) -> list[str]:
    """Keep the correct files, delete the others, and return their names."""
    total = sum(release.files[name].nbytes for name in names)
    done = 0

    def hear(nbytes: int) -> None:
        nonlocal done
        done = min(done + nbytes, total)
        progress(done, total)

    wrong = []
    for name in sorted(names):
        path = cache.find(name)
        if path is not None and cache.is_right(path, name, hear):
            cache.keep(path, name)
        else:
            if path is not None:
                cache.throw_away(path)
            wrong.append(name)
    return wrong


def _check_room(folder: Path, files: list[Wanted]) -> None:
    """Check that the disk has room before the download begins.

    Raises:
        NoSpaceError: The missing files are larger than the free space.
    """
    needed = sum(file.nbytes for file in files) - sum(file.have for file in files)
    with storage_errors(folder):
        free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpaceError(
            f"{folder} must have {needed / 1e9:.1f} GB free but has {free / 1e9:.1f} GB.",
            hint=free_space_hint(
                "Free some space, or set HF_HOME to a folder on a larger disk."
            ),
        )
