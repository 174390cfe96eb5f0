"""Fetches a model that another machine shares into the store, and checks every byte.

The manifest is compared with the digest of the command, and each file with the manifest.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx import store
from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.convert.journal import Journal
from gptoss_mlx.convert.partial import claim_partial, clear_finished, finish_partial
from gptoss_mlx.convert.writer import write_file
from gptoss_mlx.errors import (
    CheckpointError,
    ConfigError,
    DestinationExistsError,
    DownloadError,
    GptOssError,
    NoSpaceError,
    VerifyError,
    storage_errors,
)
from gptoss_mlx.files import MAX_JSON_BYTES
from gptoss_mlx.macos import awake, exclude_from_backups, free_space_hint
from gptoss_mlx.manifest import MANIFEST, Manifest, parse_manifest
from gptoss_mlx.manifest_digest import (
    MANIFEST_SHA256,
    digest_line,
    digest_of,
    model_id,
)
from gptoss_mlx.sharing.address import Address, is_name
from gptoss_mlx.sharing.download import Step, in_silence
from gptoss_mlx.sharing.local_bytes import LocalBytes
from gptoss_mlx.sharing.peer import Peer
from gptoss_mlx.sharing.pieces import CONNECTIONS
from gptoss_mlx.sharing.pulled_files import PulledFiles
from gptoss_mlx.verified import record_verified, state_of

__all__ = ["Pulled", "pull_command", "pull_model"]

MAX_FILES = 1000


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was fetched.

    Attributes:
        folder: The model's folder in the store.
        digest: sha256 of its manifest.
        nbytes: Bytes of its files.
        fetched: Bytes of these that came over the network in this run.
        copied: Bytes of these that were copied from models on this machine in this run.
    """

    folder: Path
    digest: str
    nbytes: int
    fetched: int = 0
    copied: int = 0


def pull_command(address: Address) -> str:
    """Return the command that fetches a model, or continues."""
    return shlex.join(["gptoss-mlx", "pull", address.url])


def pull_model(
    address: Address,
    *,
    say: Callable[[str], None] = lambda line: None,
    step: Step = in_silence,
) -> Pulled:
    """Fetch a shared model into the store.

    It is written as ``NAME.partial``, which nothing loads as a model, and renamed once
    every byte was compared with its sha256. After an interruption the same call continues.
    Files and tensors that models in the store have are copied from there.

    Args:
        address: Where it is; its host must be known.
        say: Called with a line about each action.
        step: Shows the progress.

    Raises:
        DownloadError: The machine cannot be reached, or sends something else.
        DestinationExistsError: Another model of that name is in the store.
        NoSpaceError: The disk is too small.
        StorageError: The system refuses for another reason.
    """
    if address.host is None:
        raise ValueError("[pull_model] address must have a host.")
    peer = Peer(
        address.host,
        address.port,
        connections=CONNECTIONS,
        again=pull_command(address),
    )
    try:
        name = address.name or _only_model(peer)
        content = peer.small(f"{name}/{MANIFEST}", MAX_JSON_BYTES)
        digest = _checked_digest(content, name, address, say)
        manifest = _checked_manifest(content, name)
        folder = store.models_folder() / name
        nbytes = sum(entry.nbytes for entry in manifest.files.values())
        if _is_here(folder, digest):
            say(f"Already here: {folder}")
            return Pulled(folder, digest, nbytes)
        with awake():
            return _pull(peer, name, content, manifest, folder, digest, say, step)
    finally:
        peer.close()


def _pull(
    peer: Peer,
    name: str,
    content: bytes,
    manifest: Manifest,
    folder: Path,
    digest: str,
    say: Callable[[str], None],
    step: Step,
) -> Pulled:
    nbytes = sum(entry.nbytes for entry in manifest.files.values())
    here = LocalBytes.of(m.path for m in store.models() if m.ready)
    with claim_partial(folder) as partial:
        if exclude_from_backups(folder.parent):
            say(f"Time Machine excludes {folder.parent}: models can be fetched again.")
        Journal(partial, {"pull": digest}, {}, say, unfinished=manifest.files.keys())
        files = PulledFiles(peer, name, manifest, partial, here, say)
        _check_space(partial, nbytes - files.begun)
        if files.begun:
            say(f"Continuing: {_size_text(files.begun)} of {_size_text(nbytes)} are here.")
        with step(f"Fetching {name}") as progress:
            files.fetch(progress)
        write_file(partial / MANIFEST, content)
        if manifest.has_digest:
            write_file(partial / MANIFEST_SHA256, digest_line(content))
        _check_model(partial, manifest, name)
        state = state_of(partial)
        finish_partial(partial, folder)
    record_verified(folder, state)
    return Pulled(folder, digest, nbytes, files.fetched, files.copied)


def _only_model(peer: Peer) -> str:
    offers = peer.offers()
    if len(offers) == 1:
        return offers[0].name
    names = ", ".join(offer.name for offer in offers) or "none"
    raise DownloadError(
        f"{peer.host} must share one model, or one must be named; it shares {names}.",
        hint="Name one: gptoss-mlx pull http://ADDRESS:PORT/NAME",
    )


def _checked_digest(
    content: bytes, name: str, address: Address, say: Callable[[str], None]
) -> str:
    digest = hashlib.sha256(content).hexdigest()
    if address.digest is None:
        say(
            f"No digest was named, so {address.host} is trusted to send what it should: "
            f"{model_id(name, digest)}"
        )
    elif not digest.startswith(address.digest):
        raise DownloadError(
            f"{name}'s manifest must have the digest {address.digest} but "
            f"{address.host} sends one with {digest[: len(address.digest)]}.",
            hint="Copy the command again from the machine that shares it. If it differs "
            "still, another machine answers at that address.",
        )
    return digest


def _checked_manifest(content: bytes, name: str) -> Manifest:
    """Read a manifest, and refuse names that no model has."""
    where = f"{name}/{MANIFEST}"
    try:
        manifest = parse_manifest(content, where)
    except VerifyError as error:
        raise DownloadError(str(error), hint=error.hint) from error
    if name.endswith(".partial"):
        raise DownloadError(f"A model must not be called {name}.")
    names = list(manifest.files)
    folded = [file.casefold() for file in names]
    if len(names) > MAX_FILES:
        raise DownloadError(f"{where}: lists {len(names):,} files, over {MAX_FILES:,}.")
    for file, lower in zip(names, folded, strict=True):
        # Two names that differ in case are one file on most Macs.
        if not is_name(file) or folded.count(lower) > 1 or lower in _OURS:
            raise DownloadError(f"{where}: {file!r} must not be the name of a file.")
    return manifest


_OURS = (MANIFEST, MANIFEST_SHA256)


def _is_here(folder: Path, digest: str) -> bool:
    """Whether the model is in the store already.

    Raises:
        DestinationExistsError: Another one of that name is.
    """
    with storage_errors(folder):
        if not folder.exists():
            return False
    clear_finished(folder)
    try:
        if digest_of(folder) == digest:
            return True
    except GptOssError:
        pass  # no model of ours, so another one
    raise DestinationExistsError(
        f"{folder} must not exist, or must be the same model, but it is another one.",
        hint=f"Remove or rename it first: gptoss-mlx models rm {folder.name}",
    )


def _check_space(partial: Path, needed: int) -> None:
    with storage_errors(partial):
        free = shutil.disk_usage(partial).free
    if needed > free:
        raise NoSpaceError(
            f"{partial.parent} must have {_size_text(needed)} free but has "
            f"{_size_text(free)}.",
            hint=free_space_hint(
                "Free some space, or set GPTOSS_MLX_HOME to a folder on a larger disk."
            ),
        )


def _check_model(partial: Path, manifest: Manifest, name: str) -> None:
    """Refuse files that are as the manifest says, but no model: headers are read."""
    try:
        found = open_checkpoint(partial, unfinished=True).files
    except (CheckpointError, ConfigError) as error:
        reason = str(error).replace(str(partial), name)
        raise DownloadError(
            f"{name} must be a model, but is not: {reason}", hint=_BROKEN
        ) from error
    told = {key: (t.file, t.dtype, t.shape) for key, t in manifest.tensors.items()}
    real = {key: (t.path.name, t.dtype, t.shape) for key, t in found.items()}
    if told != real:
        key = min(key for key in {*told, *real} if told.get(key) != real.get(key))
        raise DownloadError(
            f"{name}: tensor {key!r} must be as the manifest lists it, but is not.",
            hint=_BROKEN,
        )


_BROKEN = "Check it on the machine that shares it: gptoss-mlx verify MODEL"


def _size_text(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"
