"""A release whose weights are downloaded one by one while they are converted.

They lie in a cache of their own, beside the models, so that all of it can be removed. Files
that are whole in the Hugging Face cache are checked and used, and stay there.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from gptoss_mlx.checkpoint.safetensors import Header, read_header_bytes
from gptoss_mlx.errors import DownloadError, storage_errors
from gptoss_mlx.manifest import FileEntry
from gptoss_mlx.sharing.background import Background, Stop
from gptoss_mlx.sharing.download import Step, Telling, fetch_files
from gptoss_mlx.sharing.hub import Hub, hub_cache_root
from gptoss_mlx.sharing.hub_cache import CachedRelease
from gptoss_mlx.sharing.releases import Release
from gptoss_mlx.sharing.remote_header import fetch_header
from gptoss_mlx.sharing.transfer import Progress, Wanted, transfer
from gptoss_mlx.store import models_folder

__all__ = ["ArrivingRelease", "arriving_release", "remove_arrived"]


@contextmanager
def arriving_release(
    release: Release, hub: Hub, *, say: Telling, step: Step, patience_s: float
) -> Iterator[ArrivingRelease]:
    """Get all of a release but its weights, and begin to fetch these.

    What was fetched and not freed stays, so that the next call continues; see
    ``remove_arrived``.

    Raises:
        DownloadError: The Hub cannot be reached, or sends other files.
        StorageError: The system refuses.
    """
    cache = _incoming(release)
    downloaded = CachedRelease(release, hub_cache_root())
    with cache.held(say):
        for name in release.files:
            cache.take_leftovers(name)
        weights = [name for name in release.files if name.endswith(".safetensors")]
        small = release.files.keys() - set(weights)
        for name in sorted(small):
            found = downloaded.find(name)
            if found is not None and cache.find(name) is None:
                with storage_errors(found):
                    shutil.copyfile(found, cache.partial(name))
        fetch_files(hub, cache, release, small, say=say, step=step, patience_s=patience_s)
        arriving = ArrivingRelease(release, hub, cache, downloaded, say, patience_s)
        try:
            arriving.read_headers(sorted(weights))
            yield arriving
        finally:
            arriving.stop()


def remove_arrived(release: Release) -> None:
    """Remove what was fetched, unless a conversion needs it that runs or was interrupted.

    Raises:
        StorageError: The system refuses.
    """
    cache, folder = _incoming(release), models_folder()
    with storage_errors(cache.folder):
        if cache.folder.is_dir() and not any(folder.glob(f"{release.name}-*.partial")):
            cache.remove_if_free()


def _incoming(release: Release) -> CachedRelease:
    return CachedRelease(release, str(models_folder() / ".incoming"))


class ArrivingRelease:
    """The weights of a release: see ``convert.arrivals.Arrivals``.

    Attributes:
        folder: The checkpoint's folder.
        headers: The headers of the weights' files, by name.
        pins: Their lengths and sha256, by name.
        progress: Called with (bytes that are here or are freed, bytes in total), from two
            threads.
    """

    def __init__(
        self,
        release: Release,
        hub: Hub,
        cache: CachedRelease,
        downloaded: CachedRelease,
        say: Telling,
        patience_s: float,
    ) -> None:
        self.folder = cache.snapshot
        self.headers: Mapping[str, Header] = {}
        self.pins: Mapping[str, FileEntry] = {}
        self.progress: Progress = lambda done, total: None
        self._release = release
        self._hub = hub
        self._cache = cache
        self._downloaded = downloaded
        self._say = say
        self._patience_s = patience_s
        self._order: list[str] = []
        self._have: dict[str, int] = {}
        self._lock = threading.Lock()
        self._running: tuple[str, Background[Path]] | None = None
        self._reading: Background[dict[str, Header]] | None = None

    def read_headers(self, names: Sequence[str]) -> None:
        """Read the headers of all files, wherever these are.

        Raises:
            DownloadError: The Hub cannot be reached, or sends no headers.
            StorageError: The system refuses.
        """
        files = self._release.files
        self.pins = {n: FileEntry(files[n].nbytes, files[n].sha256) for n in names}
        for name in names:
            # What an earlier run has fetched is checked again.
            self._cache.give_back(name)

        def read(check: Stop) -> dict[str, Header]:
            return {name: self._read_header(name, check) for name in names}

        self._reading = Background(read)
        self.headers = self._reading.result()

    def begin(self, names: Sequence[str]) -> None:
        """Remove the files that are not the next two of these."""
        self._order = list(names)
        self._have = {name: pin.nbytes for name, pin in self.pins.items()}
        for name in self.pins:
            if name in names:
                self._have[name] = 0
            if name not in names[:2]:
                with storage_errors(self._cache.folder):
                    self._cache.partial(name).unlink(missing_ok=True)

    def wait(self, name: str) -> Path:
        """Return the path of a file, once it is there and is the released one.

        The next file is fetched meanwhile.

        Raises:
            DownloadError: The Hub cannot be reached, or sends something else.
            StorageError: The system refuses.
        """
        if self._running is None or self._running[0] != name:
            self._start(name)
        assert self._running is not None  # noqa: S101 - it was just started
        found = self._running[1].result()
        self._running = None
        path = self.folder / name
        if found == self._cache.partial(name):
            self._cache.keep(found, name)
        else:
            with storage_errors(path):
                path.symlink_to(found.absolute())
        content, _ = read_header_bytes(path)
        if content != self.headers[name].content:
            raise DownloadError(
                f"{name} must have the header that the Hub sent first, but has another.",
                hint=self._hub.place_hint(),
            )
        coming = self._order[self._order.index(name) + 1 :]
        if coming:
            self._start(coming[0])
        return path

    def free(self, name: str) -> None:
        """Remove a file, unless it is the Hugging Face cache's.

        Raises:
            StorageError: The system refuses.
        """
        self._cache.throw_away(self.folder / name)

    def nbytes_to_come(self, name: str) -> int:
        """Return how many bytes of a file are yet to be written to the disk."""
        if self._find_downloaded(name) is not None:
            return 0
        return self.pins[name].nbytes - self._wanted(name).have

    def nbytes_to_free(self, name: str) -> int:
        """Return how many bytes are free again once a file is removed."""
        return 0 if self._find_downloaded(name) is not None else self.pins[name].nbytes

    def stop(self) -> None:
        """Stop fetching. What is written stays."""
        if self._reading is not None:
            self._reading.stop()
        if self._running is not None:
            self._running[1].stop()
            self._running = None

    def _start(self, name: str) -> None:
        self._running = name, Background(lambda check: self._fetch(name, check))

    def _fetch(self, name: str, check: Stop) -> Path:
        """Find or fetch a file, and check its sha256, in another thread."""
        pin = self._release.files[name]

        def hear(done: int, total: int) -> None:
            check()
            self._hear(name, done)

        found = self._find_downloaded(name)
        if found is not None and self._downloaded.is_right(found, name, lambda _: check()):
            self._hear(name, pin.nbytes)
            return found
        partial = self._cache.partial(name)
        for _ in range(2):
            transfer(
                self._hub,
                [self._wanted(name)],
                progress=hear,
                say=self._say,
                patience_s=self._patience_s,
            )
            if self._cache.is_right(partial, name, lambda _: check()):
                return partial
            self._cache.throw_away(partial)
            self._say(f"{name}: not as released. Downloading again from byte 0.")
        raise DownloadError(
            f"{name} must be as {self._release.repository} was released, but the Hub "
            "twice sent files with another sha256.",
            hint=self._hub.place_hint(),
        )

    def _wanted(self, name: str) -> Wanted:
        nbytes = self._release.files[name].nbytes
        return Wanted(name, nbytes, self._cache.partial(name))

    def _hear(self, name: str, done: int) -> None:
        with self._lock:
            self._have[name] = done
            total = sum(pin.nbytes for pin in self.pins.values())
            self.progress(sum(self._have.values()), total)

    def _read_header(self, name: str, check: Stop) -> Header:
        nbytes = self._release.files[name].nbytes
        found = self._find_downloaded(name)
        if found is not None:
            return Header(read_header_bytes(found)[0], nbytes)
        return fetch_header(self._hub, name, nbytes, check)

    def _find_downloaded(self, name: str) -> Path | None:
        """Return a whole file of the Hugging Face cache, not checked yet."""
        found = self._downloaded.find(name)
        return None if found == self._downloaded.partial(name) else found
