"""A release in the Hugging Face cache, which it shares with other programs.

    models--OWNER--NAME/blobs/SUM         a file; SUM is its sha256, or git's of a small one
    models--OWNER--NAME/snapshots/REVISION/NAME -> ../../blobs/SUM
    .locks/models--OWNER--NAME/SUM.lock

Source: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gptoss_mlx.errors import DownloadError, WrongFileError, storage_errors
from gptoss_mlx.sharing.releases import Pin, Release

__all__ = ["CachedRelease"]

# The Hub keeps larger files with LFS, which names a file by its sha256.
MAX_GIT_BYTES = 10 << 20
CHUNK_BYTES = 1 << 20
LOCK_WAIT_S = 1.0
LOOK_S = 0.1


class CachedRelease:
    """A release's files in the cache, complete or partial.

    Attributes:
        folder: Folder of the repository.
        snapshot: Folder with the files under their names.
    """

    def __init__(self, release: Release, root: str) -> None:
        self._release = release
        place = f"models--{release.repository.replace('/', '--')}"
        self._root = Path(root)
        self.folder = self._root / place
        self.snapshot = self.folder / "snapshots" / release.revision
        self._blobs = self.folder / "blobs"
        self._locks = self._root / ".locks" / place

    @contextmanager
    def held(self, say: Callable[[str], None]) -> Iterator[None]:
        """Make the folders, and lock them against other downloads of the release.

        Raises:
            DownloadError: The cache's path is not a usable folder.
            StorageError: The system refuses.
        """
        self._make_folders()
        with ExitStack() as locks:
            for name, pin in sorted(self._release.files.items()):
                _lock(self._locks / f"{pin.sha256}.lock", name, locks, say)
            self._make_folders()  # whoever had the locks may have removed them
            yield

    def _make_folders(self) -> None:
        for folder in (self._blobs, self.snapshot, self._locks):
            with storage_errors(folder):
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    if error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    raise self._no_folder(error) from error

    def _no_folder(self, error: OSError) -> DownloadError:
        named = [name for name in ("HF_HUB_CACHE", "HF_HOME") if os.environ.get(name)]
        by = f", where {named[0]} puts it," if named else ""
        return DownloadError(
            f"The Hugging Face cache must be a folder to write in, but {self._root}{by} is "
            f"not: {error.strerror}.",
            hint=f"Set {(named or ['HF_HOME'])[0]} to a folder of your own.",
        )

    def remove_if_free(self) -> None:
        """Remove the release's folder, unless another process has locked it.

        Raises:
            StorageError: The system refuses.
        """
        from huggingface_hub.utils import WeakFileLock

        with storage_errors(self.folder), ExitStack() as locks:
            try:
                for _, pin in sorted(self._release.files.items()):
                    path = self._locks / f"{pin.sha256}.lock"
                    locks.enter_context(WeakFileLock(path, timeout=LOOK_S))
            except TimeoutError:
                return
            shutil.rmtree(self.folder)

    def find(self, name: str) -> Path | None:
        """Return a file with the right size, or None."""
        pin = self._release.files[name]
        places = (self.snapshot / name, self._blobs / pin.sha256, self.partial(name))
        for path in places:
            with storage_errors(path):
                if path.is_file() and path.stat().st_size == pin.nbytes:
                    return path
        return None

    def whole(self) -> Path | None:
        """Return a snapshot with all that a model is loaded from, in the right sizes.

        It may be of another revision, as another program has downloaded it.

        Raises:
            StorageError: The disk refuses.
        """
        needed = [
            (name, pin.nbytes)
            for name, pin in self._release.files.items()
            if name.endswith(".safetensors") or name == "config.json"
        ]
        with storage_errors(self.folder):
            for folder in (self.snapshot, *sorted(self.folder.glob("snapshots/*"))):
                files = [(folder / name, nbytes) for name, nbytes in needed]
                if all(p.is_file() and p.stat().st_size == size for p, size in files):
                    return folder
        return None

    def partial(self, name: str) -> Path:
        """Return the path of a partial file, which is written from its beginning."""
        return self._blobs / f"{self._release.files[name].sha256}.gptoss-mlx.incomplete"

    def give_back(self, name: str) -> None:
        """Make a file a partial one again, so that it is checked before it is used.

        Raises:
            StorageError: The system refuses.
        """
        link, blob = self.snapshot / name, self._blobs / self._release.files[name].sha256
        with storage_errors(link):
            if not link.is_symlink() and link.exists():
                link.replace(blob)
            link.unlink(missing_ok=True)
            if blob.exists():
                blob.replace(self.partial(name))

    def take_leftovers(self, name: str) -> None:
        """Continue the longest partial file of another program; remove the others.

        Links and pipes are removed, so that nothing is written outside the cache.

        Raises:
            WrongFileError: A folder is in a file's place.
            StorageError: The system refuses.
        """
        pin, partial = self._release.files[name], self.partial(name)
        with storage_errors(self._blobs):
            _refuse_folder(self._blobs / pin.sha256)
            _refuse_folder(self.snapshot / name)
            for path in self._blobs.glob(f"{pin.sha256}*.incomplete"):
                _refuse_folder(path)
                if not _is_own_file(path):
                    path.unlink()
            for path in self._blobs.glob(f"{pin.sha256}*.incomplete"):
                if path == partial:
                    continue
                have = partial.stat().st_size if partial.exists() else 0
                if have < path.stat().st_size <= pin.nbytes and not _has_holes(path):
                    path.replace(partial)
                else:
                    path.unlink()
            if partial.exists() and partial.stat().st_size > pin.nbytes:
                partial.unlink()

    def is_right(self, path: Path, name: str, hear: Callable[[int], None]) -> bool:
        """Whether a file has the release's sha256.

        Args:
            hear: Called with the number of bytes of each chunk.

        Raises:
            StorageError: It cannot be read.
        """
        digest = hashlib.sha256()
        with storage_errors(path), path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                hear(len(chunk))
        return digest.hexdigest() == self._release.files[name].sha256

    def keep(self, path: Path, name: str) -> None:
        """Move a correct file to the name under which every program finds it.

        Raises:
            StorageError: The system refuses.
        """
        link = self.snapshot / name
        if path == link:
            return
        pin = self._release.files[name]
        with storage_errors(path):
            blob = self._blobs / _blob_name(path, name, pin)
            if path != blob:
                _refuse_folder(blob)
                path.replace(blob)
            for leftover in self._blobs.glob(f"{blob.name}*.incomplete"):
                leftover.unlink()
            fresh = link.with_name(f".{link.name}.gptoss-mlx")
            fresh.unlink(missing_ok=True)
            try:
                fresh.symlink_to(os.path.relpath(blob, link.parent))
            except OSError:  # a disk without links: put the file itself there
                blob.replace(link)
            else:
                fresh.replace(link)

    def set_newest(self) -> None:
        """Let every program take this revision for the newest one of its branch, main.

        Raises:
            StorageError: The system refuses.
        """
        path = self.folder / "refs" / "main"
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            fresh = path.with_name(f".{path.name}.gptoss-mlx")
            fresh.write_text(self._release.revision)
            fresh.replace(path)

    def throw_away(self, path: Path) -> None:
        """Remove a wrong file, and its link's target in this cache.

        Raises:
            StorageError: The system refuses.
        """
        with storage_errors(path):
            if path.is_symlink():
                target = path.parent / path.readlink()
                if target.parent.resolve() == self._blobs.resolve():
                    target.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _lock(path: Path, name: str, locks: ExitStack, say: Callable[[str], None]) -> None:
    from huggingface_hub.utils import WeakFileLock

    told = False
    while True:
        with storage_errors(path):
            try:
                locks.enter_context(WeakFileLock(path, timeout=LOCK_WAIT_S))
                return
            except TimeoutError:
                if not told:
                    say(f"Waiting for another program, which is downloading {name}.")
                    told = True


def _refuse_folder(path: Path) -> None:
    """Refuse a folder in a file's place: it is not ours to remove.

    Raises:
        WrongFileError: It is a folder.
    """
    if path.is_dir() and not path.is_symlink():
        raise WrongFileError(
            f"{path}: must be a file but is a folder.",
            hint=f"Remove it: rm -r {shlex.quote(str(path))}",
        )


def _is_own_file(path: Path) -> bool:
    """Whether it is a regular file without another name: not a link, a pipe or a device."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1


def _has_holes(path: Path) -> bool:
    """Whether a file was not written in order from its beginning."""
    status = path.stat()
    return status.st_blocks * 512 < status.st_size


def _blob_name(path: Path, name: str, pin: Pin) -> str:
    if name.endswith(".safetensors") or pin.nbytes > MAX_GIT_BYTES:
        return pin.sha256
    data = path.read_bytes()
    header = f"blob {len(data)}\0".encode()
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()
