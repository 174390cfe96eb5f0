"""Downloads a model that runs as it is: converted by gptoss-mlx, or by mlx-lm.

The headers of the weights are compared with config.json before the weights are fetched.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.safetensors import Header
from gptoss_mlx.errors import (
    CheckpointError,
    ConfigError,
    DownloadError,
    storage_errors,
)
from gptoss_mlx.macos import awake
from gptoss_mlx.manifest_digest import model_id
from gptoss_mlx.sharing.background import Background, Stop
from gptoss_mlx.sharing.download import (
    PATIENCE_S,
    Step,
    fetch_files,
    in_silence,
    size_text,
)
from gptoss_mlx.sharing.hub import Hub, hub_cache_root
from gptoss_mlx.sharing.hub_cache import CachedRelease
from gptoss_mlx.sharing.hub_listing import list_repository
from gptoss_mlx.sharing.hub_plan import plan_download
from gptoss_mlx.sharing.releases import Release
from gptoss_mlx.sharing.remote_header import fetch_header
from gptoss_mlx.sharing.repository import Repository
from gptoss_mlx.sharing.transfer import Wanted
from gptoss_mlx.verified import record_verified, state_of

__all__ = ["HubModel", "fetch_command", "fetch_model"]


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model in the Hugging Face cache.

    Attributes:
        folder: Its folder there.
        digest: sha256 of its manifest; None without one.
    """

    repository: str
    folder: Path
    digest: str | None

    @property
    def model_id(self) -> str | None:
        """The short line that names the model and all of its bytes."""
        name = self.repository.rpartition("/")[2]
        return None if self.digest is None else model_id(name, self.digest)


def fetch_command(repository: Repository) -> str:
    """Return the command that downloads a model, or continues its download."""
    digest = "" if repository.digest is None else f"@{repository.digest}"
    return shlex.join(["gptoss-mlx", "download", f"{repository.id}{digest}"])


def fetch_model(
    repository: Repository,
    *,
    say: Callable[[str], None] = lambda line: None,
    step: Step = in_silence,
    endpoint: str | None = None,
    patience_s: float = PATIENCE_S,
) -> HubModel:
    """Download the missing files of a model into the Hugging Face cache, and check all.

    After an interruption the same call continues.

    Args:
        repository: Where it is. With a digest, its manifest must have it.
        say: Called with a sentence about other events.
        step: Shows the progress of downloading and of checking.
        endpoint: The Hub's address. None: huggingface.co, or the value of HF_ENDPOINT.
        patience_s: Seconds to wait for the Hub's first answer.

    Raises:
        UnsupportedModelError: It is not gpt-oss.
        DownloadError: The Hub cannot be reached, or what it has is no model, or differs
            from its manifest or the digest.
        NoSpaceError: The disk is too small for the missing files.
        StorageError: The system refuses for another reason.
    """
    root, command = hub_cache_root(), fetch_command(repository)

    def hub_at(revision: str) -> Hub:
        return Hub(repository.id, revision, endpoint=endpoint, command=command)

    with awake():
        listing = list_repository(hub_at("main"), repository.id)
        hub = hub_at(listing.commit)
        plan = plan_download(hub, listing, repository.digest)
        release, small = plan.release, plan.small.keys()
        cache = CachedRelease(release, root)
        with cache.held(say):
            for name in release.files:
                cache.take_leftovers(name)
            _put(plan.small, cache)
            fetch_files(
                hub, cache, release, small, say=say, step=in_silence, patience_s=patience_s
            )
            _check_headers(hub, cache, release)
            fetch_files(
                hub,
                cache,
                release,
                release.files.keys() - small,
                tell=lambda files: _tell(release, small, files, say),
                say=say,
                step=step,
                patience_s=patience_s,
            )
            state = state_of(cache.snapshot)
            _check_model(cache.snapshot, release.repository, {})
            cache.set_newest()
    if plan.digest is not None:
        record_verified(cache.snapshot, state)
    return HubModel(repository.id, cache.snapshot, plan.digest)


def _put(small: Mapping[str, bytes], cache: CachedRelease) -> None:
    """Write the small files into the cache, where they are not there yet."""
    for name, content in small.items():
        path = cache.partial(name)
        if cache.find(name) is None:
            with storage_errors(path):
                path.write_bytes(content)


def _check_headers(hub: Hub, cache: CachedRelease, release: Release) -> None:
    """Compare the headers of weights that are not here with config.json.

    Raises:
        DownloadError: These weights cannot be used, so there is no use in fetching them.
    """
    missing = [
        name
        for name in sorted(release.files)
        if name.endswith(".safetensors") and not (cache.snapshot / name).exists()
    ]

    def fetch(stop: Stop) -> dict[str, Header]:
        return {
            name: fetch_header(hub, name, release.files[name].nbytes, stop)
            for name in missing
        }

    work = Background(fetch)
    try:
        headers = work.result()
    finally:
        work.stop()
    _check_model(cache.snapshot, release.repository, headers)


def _check_model(snapshot: Path, repository: str, headers: Mapping[str, Header]) -> None:
    try:
        open_checkpoint(snapshot, headers=headers)
    except (CheckpointError, ConfigError) as error:
        reason = str(error).replace(f"{snapshot}/", "").replace(str(snapshot), repository)
        raise DownloadError(
            f"{repository} cannot be used: {reason}",
            hint="gptoss-mlx download 20b gets OpenAI's release, and converts it.",
        ) from error


def _tell(
    release: Release,
    small: Collection[str],
    files: list[Wanted],
    say: Callable[[str], None],
) -> None:
    total = sum(pin.nbytes for name, pin in release.files.items() if name not in small)
    here = total - sum(file.nbytes - file.have for file in files)
    already = f", of which {size_text(here)} are here" if here else ""
    say(f"Downloading {release.repository}, {size_text(total)}{already}.")
