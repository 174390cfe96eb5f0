"""The files of a repository on the Hub, as its API lists them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gptoss_mlx.errors import DownloadError
from gptoss_mlx.files import MAX_JSON_BYTES, parse_json
from gptoss_mlx.sharing.address import is_name
from gptoss_mlx.sharing.background import Background, Stop
from gptoss_mlx.sharing.hub import Hub
from gptoss_mlx.sharing.small_requests import fetch_beginning, try_often

__all__ = ["Listed", "Listing", "fetch_small", "list_repository"]

MAX_FILE_BYTES = 1 << 40

_SHA1 = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Listed(NamedTuple):
    """A file of a repository.

    Attributes:
        sha256: None for a file that Git holds itself, as it does small ones.
        blob: The sha1 that Git names it by; None if ``sha256`` is known.
    """

    nbytes: int
    sha256: str | None
    blob: str | None

    def fits(self, content: bytes) -> bool:
        """Whether this is the file's content."""
        if self.sha256 is not None:
            return hashlib.sha256(content).hexdigest() == self.sha256
        head = f"blob {len(content)}\0".encode()
        # The name that Git gives it; this is no protection against forgery.
        blob = hashlib.sha1(head + content, usedforsecurity=False).hexdigest()
        return blob == self.blob


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at its newest commit.

    Attributes:
        repository: ``USER/REPO``.
        commit: The commit.
        files: Its files by name, without those in folders.
    """

    repository: str
    commit: str
    files: Mapping[str, Listed]


def list_repository(hub: Hub, repository: str) -> Listing:
    """Ask the Hub what a repository holds.

    Args:
        hub: The repository at a branch, e.g. ``main``.
        repository: Its id.

    Raises:
        DownloadError: There is none of that name, or the Hub cannot be reached.
    """
    work = Background(lambda stop: try_often(hub, hub.description, stop))
    try:
        content = work.result()
    finally:
        work.stop()
    try:
        keys = parse_json(content)
        commit = keys["sha"]
        if not _SHA1.fullmatch(commit):
            raise ValueError(commit)
        files = dict(_files(keys["siblings"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DownloadError(
            f"{repository} must be a model on the Hub, but its list of files has another "
            "form.",
            hint=hub.place_hint(),
        ) from error
    return Listing(repository, commit, files)


def _files(entries: Any) -> Iterator[tuple[str, Listed]]:
    for entry in entries:
        name, nbytes, lfs = entry["rfilename"], entry["size"], entry.get("lfs")
        if not is_name(name):
            continue
        if type(nbytes) is not int or not 0 <= nbytes < MAX_FILE_BYTES:
            raise ValueError(name)
        if lfs is None:
            yield name, Listed(nbytes, None, _text(entry["blobId"], _SHA1))
        else:
            yield name, Listed(nbytes, _text(lfs["sha256"], _SHA256), None)


def _text(value: Any, form: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(value)
    return value


def fetch_small(hub: Hub, listing: Listing, names: Iterable[str]) -> dict[str, bytes]:
    """Fetch small files into memory, and compare each with the listing.

    Raises:
        DownloadError: The Hub cannot be reached, or sends something else; or a file is
            larger than a JSON file may be.
    """

    def fetch(stop: Stop) -> dict[str, bytes]:
        found = {}
        for name in names:
            listed = listing.files[name]
            if listed.nbytes > MAX_JSON_BYTES:
                raise DownloadError(
                    f"{name} of {listing.repository} must have at most "
                    f"{MAX_JSON_BYTES:,} bytes but has {listed.nbytes:,}.",
                    hint="Check the name: no model has such a file.",
                )
            found[name] = fetch_beginning(hub, name, listed.nbytes, listed.nbytes, stop)
            if not listed.fits(found[name]):
                raise DownloadError(
                    f"{name} must be as {listing.repository} lists it, but the Hub sends "
                    "something else.",
                    hint=hub.place_hint(),
                )
        return found

    work = Background(fetch)
    try:
        return work.result()
    finally:
        work.stop()
