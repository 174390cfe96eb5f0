"""A released checkpoint from the Hugging Face Hub, into its cache.

huggingface_hub fetches, resumes, and knows the user's token, proxy and cache; what it
does not do is to compare the sha256 of what arrived with what was released.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gptoss_mlx.errors import (
    DownloadError,
    NoSpaceError,
    UnsupportedModelError,
    storage_errors,
)
from gptoss_mlx.macos import free_space_hint
from gptoss_mlx.sharing.releases import RELEASES, Release
from gptoss_mlx.store import released_size

__all__ = ["Progress", "check_release", "fetch_release", "find_release"]

Progress = Callable[[int, int], None]
"""Called with the bytes done so far, and all there are."""

PATTERNS = ("*.json", "*.safetensors", "*.jinja", "LICENSE", "USAGE_POLICY")
"""Of the root alone: original/ and metal/ hold the same weights again."""

CHUNK_BYTES = 16 << 20


def find_release(name: str) -> Release:
    """Return what ``20b``, ``120b`` or a repository's id stands for.

    Raises:
        UnsupportedModelError: It is neither of the two models.
    """
    size = released_size(name)
    if size is None:
        raise UnsupportedModelError(
            f"A model to download must be 20b or 120b but is {name!r}.",
            hint="Download the smaller one: gptoss-mlx download 20b",
        )
    return RELEASES[size]


def fetch_release(release: Release, *, endpoint: str | None = None) -> Path:
    """Fetch a release, or what is missing of it; huggingface_hub shows what arrives.

    Args:
        release: Which.
        endpoint: The Hub's address. None: huggingface.co, or what HF_ENDPOINT says.

    Returns:
        Its folder in the Hugging Face cache, in Hugging Face layout. ``check_release``
        tells whether it is right.

    Raises:
        DownloadError: The Hub cannot be reached.
        NoSpaceError: The disk is too small for what is missing.
    """
    # Read where huggingface_hub is imported: nobody is told more than what is fetched.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import DryRunError, HfHubHTTPError

    def fetch(dry_run: bool) -> Any:
        return snapshot_download(
            release.repository,
            revision=release.revision,
            allow_patterns=list(PATTERNS),
            ignore_patterns=["*/*"],
            endpoint=endpoint,
            library_name="gptoss-mlx",
            dry_run=dry_run,
        )

    try:
        _check_room(fetch(dry_run=True))
        folder = Path(fetch(dry_run=False))
    except (DryRunError, httpx2.HTTPError, HfHubHTTPError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise DownloadError(
            f"{release.repository} must be reachable on the Hub but is not: {reason}",
            hint=f"Run it again, and it goes on where it stopped: {release.command}",
        ) from error
    return folder


def _check_room(files: Sequence[Any]) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        NoSpaceError: What is missing is larger than what is free.
    """
    missing = [file for file in files if file.will_download]
    needed = sum(file.file_size or 0 for file in missing)
    if not missing:
        return
    folder = Path(missing[0].local_path)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise NoSpaceError(
            f"{folder} must have {needed / 1e9:.1f} GB free but has {free / 1e9:.1f} GB.",
            hint=free_space_hint(
                "Free some space, or set HF_HOME to a folder on a larger disk."
            ),
        )


def check_release(
    folder: Path, release: Release, *, progress: Progress | None = None
) -> None:
    """Compare every shard with what was released.

    Args:
        progress: Hears how much has been compared.

    Raises:
        DownloadError: One differs. It is removed, so that it is fetched again.
        StorageError: One cannot be read.
    """
    done = 0
    for name, (_, sha256) in release.shards.items():
        path = folder / name
        digest = hashlib.sha256()
        with storage_errors(path), path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(min(done, release.nbytes), release.nbytes)
        if digest.hexdigest() != sha256:
            with storage_errors(path):
                # In the cache it is a link to the file itself.
                path.resolve().unlink()
                path.unlink(missing_ok=True)
            raise DownloadError(
                f"{path} must have sha256 {sha256} but has {digest.hexdigest()}.",
                hint=f"It was removed. Fetch it again: {release.command}",
            )
