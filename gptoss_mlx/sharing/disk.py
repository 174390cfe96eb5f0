"""Copies a converted folder to another disk, and reads the copy back.

It is written as ``NAME.partial``, and renamed once every byte is as in the manifest.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.convert.journal import Journal
from gptoss_mlx.convert.partial import claim_partial, clear_finished, finish_partial
from gptoss_mlx.convert.writer import write_file
from gptoss_mlx.errors import (
    DestinationExistsError,
    GptOssError,
    NoSpaceError,
    ShareError,
    StorageError,
    VerifyError,
    storage_errors,
)
from gptoss_mlx.files import sync_file
from gptoss_mlx.macos import awake, free_space_hint
from gptoss_mlx.manifest import MANIFEST
from gptoss_mlx.manifest_digest import MANIFEST_SHA256, digest_of
from gptoss_mlx.sharing.clone import clone_file
from gptoss_mlx.sharing.download import Step, in_silence
from gptoss_mlx.sharing.file_system import max_file_bytes
from gptoss_mlx.sharing.read_back import bypass_cache, hash_from_disk
from gptoss_mlx.sharing.shared_model import SharedFile, SharedModel, open_shared
from gptoss_mlx.sharing.transfer import Progress, open_partial, write_whole
from gptoss_mlx.verified import record_verified, state_of

__all__ = ["DiskCopy", "copy_to_disk"]

PIECE_BYTES = 4 << 20
# Synced in parts, so that the progress is the disk's and Ctrl-C need not wait long.
SYNC_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class DiskCopy:
    """A copy.

    Attributes:
        folder: The model's folder on the disk.
        digest: sha256 of its manifest.
        nbytes: Bytes of its files.
        cloned: Bytes of these that share the disk's blocks with the model.
        was_there: Whether it was there already, and is equal.
    """

    folder: Path
    digest: str
    nbytes: int
    cloned: int = 0
    was_there: bool = False


def copy_to_disk(
    folder: Path,
    place: Path,
    *,
    say: Callable[[str], None] = lambda line: None,
    step: Step = in_silence,
) -> DiskCopy:
    """Copy a converted folder into the folder ``place``, on the same or another disk.

    After an interruption the same call continues.

    Args:
        folder: The converted folder.
        place: An existing folder; the copy gets the model's name in it.
        say: Called with a line about each action.
        step: Shows the progress.

    Raises:
        VerifyError: The model has no manifest, or differs from it.
        ShareError: The disk does not take files so large, or is a folder of the model.
        DestinationExistsError: Something else is there.
        NoSpaceError: The disk is too small, or full.
        StorageError: The system refuses for another reason.
    """
    _check_place(folder, place)
    with awake(), open_shared(folder) as model:
        destination = place / model.name
        clear_finished(destination)
        if os.path.lexists(destination):
            return _compared(model, destination, step)
        _check_file_size(model, place)
        with claim_partial(destination) as partial:
            copy = _Copy(folder, model, partial, say)
            copy.run(place, step)
            state = state_of(partial)
            finish_partial(partial, destination)
    record_verified(destination, state)
    return DiskCopy(destination, model.digest, model.nbytes, copy.cloned)


class _Copy:
    """The copying of a model into a claimed folder."""

    def __init__(
        self, folder: Path, model: SharedModel, partial: Path, say: Callable[[str], None]
    ) -> None:
        self._folder, self._model, self._partial, self._say = folder, model, partial, say
        self._files = _listed(model)
        Journal(partial, {"copy": model.digest}, {}, say, unfinished=self._files.keys())
        self.cloned = 0

    def run(self, place: Path, step: Step) -> None:
        self._clone()
        have = {name: self._length(name) for name in self._files}
        begun = sum(have.values()) - self.cloned
        _check_space(place, self._model.nbytes - sum(have.values()))
        if begun:
            self._say(
                f"Continuing: {_size_text(begun)} of {_size_text(self._model.nbytes)} "
                "are there."
            )
        # Whole files too: an earlier run may have ended before it synced them.
        with step(f"Copying to {place}") as progress:
            self._copy(have, progress)
        with step("Reading it back") as progress:
            wrong = _differing(self._files, self._partial, progress)
        if wrong:
            self._copy_again(wrong, step)
        write_file(self._partial / MANIFEST_SHA256, _content(self._model, MANIFEST_SHA256))
        write_file(self._partial / MANIFEST, _content(self._model, MANIFEST))

    def _clone(self) -> None:
        """Clone the files that are not there yet, as far as the file system can."""
        for name, file in self._files.items():
            path = self._partial / name
            with storage_errors(path):
                if file.descriptor is None or os.path.lexists(path) or not file.nbytes:
                    continue
                if not clone_file(file.descriptor, path):
                    return
            self.cloned += file.nbytes

    def _length(self, name: str) -> int:
        """Return the length of what is there; remove what is too long."""
        path = self._partial / name
        with storage_errors(path):
            nbytes = path.stat().st_size if os.path.lexists(path) else 0
            if nbytes > self._files[name].nbytes:
                path.unlink()
                return 0
        return nbytes

    def _copy(self, have: dict[str, int], progress: Progress) -> None:
        total = sum(self._files[name].nbytes for name in have)
        done = sum(have.values())

        def hear(nbytes: int) -> None:
            nonlocal done
            done += nbytes
            progress(done, total)

        for name, start in have.items():
            self._append(name, start, hear)

    def _append(self, name: str, start: int, hear: Callable[[int], None]) -> None:
        path, file = self._partial / name, self._files[name]
        descriptor = open_partial(path)
        try:
            unsynced = 0
            while start < file.nbytes:
                with storage_errors(self._folder / name):
                    piece = file.read(start, min(PIECE_BYTES, file.nbytes - start))
                if not piece:
                    raise VerifyError(
                        f"{self._folder / name}: must have {file.nbytes:,} bytes but was "
                        f"cut to {start:,}."
                    )
                with storage_errors(path):
                    write_whole(descriptor, piece)
                    unsynced += len(piece)
                    if unsynced >= SYNC_BYTES:
                        sync_file(descriptor)
                        bypass_cache(descriptor)
                        unsynced = 0
                start += len(piece)
                hear(len(piece))
            with storage_errors(path):
                sync_file(descriptor)
        finally:
            os.close(descriptor)

    def _copy_again(self, wrong: list[str], step: Step) -> None:
        """Copy files from byte 0 that are not as the manifest says.

        Raises:
            VerifyError: A file of the model itself is not.
            StorageError: The disk returns other bytes again.
        """
        for name in wrong:
            with storage_errors(self._partial / name):
                (self._partial / name).unlink()
        for name in wrong:
            path, sha256 = self._folder / name, self._files[name].sha256
            found = hash_from_disk(path, lambda nbytes: None)
            if found != sha256:
                raise VerifyError(
                    f"{path}: must have the sha256 {sha256} but has {found}.",
                    hint="See what differs: "
                    + shlex.join(["gptoss-mlx", "verify", str(self._folder)]),
                )
        self._say(f"{', '.join(wrong)}: not as in the model. Copying again from byte 0.")
        with step("Copying again") as progress:
            self._copy(dict.fromkeys(wrong, 0), progress)
        files = {name: self._files[name] for name in wrong}
        with step("Reading it back") as progress:
            wrong = _differing(files, self._partial, progress)
        if wrong:
            raise StorageError(
                f"{self._partial / wrong[0]}: the disk returns other bytes than were "
                "written, twice.",
                hint="Use another disk, cable or port: this one damages files.",
            )


def _compared(model: SharedModel, destination: Path, step: Step) -> DiskCopy:
    """Compare a folder that is there with the model, every byte of it.

    Raises:
        DestinationExistsError: It differs.
    """
    try:
        same = digest_of(destination) == model.digest
    except GptOssError:
        same = False  # no model of ours
    if not same:
        raise DestinationExistsError(
            f"{destination} must not exist, or must be the same model, but it is another "
            "one.",
            hint="Remove or rename it, or name another folder.",
        )
    files = _listed(model)
    try:
        with step("Comparing") as progress:
            wrong = _differing(files, destination, progress)
    except StorageError as error:
        raise DestinationExistsError(
            f"{destination} must not exist, or must be whole: {error}",
            hint="Remove it, then run the same command again.",
        ) from error
    if wrong:
        raise DestinationExistsError(
            f"{destination / wrong[0]}: is not as in the model.",
            hint="Remove the folder, then run the same command again: "
            f"{shlex.quote(str(destination))}",
        )
    return DiskCopy(destination, model.digest, model.nbytes, was_there=True)


def _listed(model: SharedModel) -> dict[str, SharedFile]:
    """Return the files that the manifest lists, config.json last.

    Without config.json no program takes a folder for a model.
    """
    names = model.files.keys() - {MANIFEST, MANIFEST_SHA256}
    ordered = sorted(names, key=lambda name: (name == "config.json", name))
    return {name: model.files[name] for name in ordered}


def _content(model: SharedModel, name: str) -> bytes:
    file = model.files[name]
    return file.read(0, file.nbytes)


def _differing(files: dict[str, SharedFile], folder: Path, progress: Progress) -> list[str]:
    """Return the names of the files in ``folder`` whose bytes are not the listed ones."""
    total, done = sum(file.nbytes for file in files.values()), 0

    def hear(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        progress(min(done, total), total)

    return [
        name
        for name, file in files.items()
        if hash_from_disk(folder / name, hear) != file.sha256
    ]


def _check_place(folder: Path, place: Path) -> None:
    with storage_errors(place):
        is_folder = os.path.isdir(place)  # noqa: PTH112 - Path's raises at links in a circle
    if not is_folder:
        raise StorageError(
            f"{place} must be a folder that exists but is none.",
            hint="Connect the disk, or make the folder first: "
            + shlex.join(["mkdir", "-p", str(place)]),
        )
    real = Path(os.path.realpath(folder))
    inner = Path(os.path.realpath(place))
    if real in (inner, *inner.parents):
        raise ShareError(
            f"{place} must not be a folder of the model itself.",
            hint="Name a folder on another disk.",
        )


def _check_file_size(model: SharedModel, place: Path) -> None:
    most = max_file_bytes(place)
    large = _largest(_listed(model).items())
    if most is not None and large[1].nbytes > most:
        raise ShareError(
            f"{place} is on a disk with FAT, whose files have at most 4.29 GB, but "
            f"{large[0]} has {_size_text(large[1].nbytes)}.",
            hint="Format the disk as exFAT or APFS, which removes what is on it, or use "
            "another one.",
        )


def _largest(files: Iterable[tuple[str, SharedFile]]) -> tuple[str, SharedFile]:
    return max(files, key=lambda item: item[1].nbytes, default=("", SharedFile(0, "")))


def _check_space(place: Path, needed: int) -> None:
    with storage_errors(place):
        free = shutil.disk_usage(place).free
    if needed > free:
        raise NoSpaceError(
            f"{place} must have {_size_text(needed)} free but has {_size_text(free)}.",
            hint=free_space_hint("Free some space there, or name another disk."),
        )


def _size_text(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"
