"""The files of a model that is being fetched: each is written and hashed in order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from gptoss_mlx.errors import DownloadError, GptOssError, storage_errors
from gptoss_mlx.files import sync_file
from gptoss_mlx.manifest import Manifest
from gptoss_mlx.sharing.local_bytes import LocalBytes
from gptoss_mlx.sharing.peer import Peer
from gptoss_mlx.sharing.pieces import PIECE_BYTES, Piece, fetch_pieces
from gptoss_mlx.sharing.segments import Segment, header_bytes, plan_file, segments_of
from gptoss_mlx.sharing.transfer import Progress, open_partial, write_whole

__all__ = ["PulledFiles"]

SYNC_BYTES = 256 << 20


class PulledFiles:
    """Fetches the files of one model into a claimed folder.

    Attributes:
        begun: Bytes that an earlier run has written.
        fetched: Bytes that came over the network.
        copied: Bytes that came from models on this machine.
    """

    def __init__(
        self,
        peer: Peer,
        name: str,
        manifest: Manifest,
        partial: Path,
        here: LocalBytes,
        say: Callable[[str], None],
    ) -> None:
        self._peer, self._name, self._manifest = peer, name, manifest
        self._partial, self._here, self._say = partial, here, say
        # Without config.json no program takes a folder for a model.
        self._names = sorted(manifest.files, key=lambda file: (file == "config.json", file))
        self._have = {file: self._length(file) for file in self._names}
        self._total = sum(entry.nbytes for entry in manifest.files.values())
        self._written = 0
        self.begun = sum(self._have.values())
        self.fetched = self.copied = 0

    def fetch(self, progress: Progress) -> None:
        """Fetch, copy and check all files. A wrong file is fetched whole once more.

        Args:
            progress: Called with (bytes done, bytes in total), earlier bytes included.

        Raises:
            DownloadError: The machine cannot be reached, or sends something else.
            StorageError: The system refuses.
        """
        plans = self._plan()
        wrong = self._fetch_all(plans, progress)
        if wrong:
            # Damaged on this machine, unless it is wrong again.
            self._say(f"{', '.join(wrong)}: not as shared. Fetching again from byte 0.")
            for file in wrong:
                self._written -= self._manifest.files[file].nbytes
                self._have[file] = 0
            again = {f: [Segment(0, self._manifest.files[f].nbytes)] for f in wrong}
            if wrong := self._fetch_all(again, progress):
                raise self._differs(wrong[0])
        progress(self._total, self._total)

    def _length(self, file: str) -> int:
        """Return the length of what is there; remove what is too long."""
        path = self._partial / file
        with storage_errors(path):
            nbytes = path.stat().st_size if os.path.lexists(path) else 0
            if nbytes > self._manifest.files[file].nbytes:
                path.unlink()
                return 0
        return nbytes

    def _plan(self) -> dict[str, list[Segment]]:
        """Return the segments of each file; some headers are fetched for it."""
        plans: dict[str, list[Segment]] = {}
        unknown = []
        for file in self._names:
            plan = plan_file(file, self._manifest, self._here)
            if plan is None:
                unknown.append(file)
            plans[file] = plan or []
        sizes = {}
        for file, prefix in zip(
            unknown, self._ranges(dict.fromkeys(unknown, (0, 8))), strict=True
        ):
            sizes[file] = (8, header_bytes(prefix, file, self._manifest.files[file].nbytes))
        for file, header in zip(unknown, self._ranges(sizes), strict=True):
            plans[file] = segments_of(file, self._manifest, self._here, header)
        return plans

    def _ranges(self, ranges: dict[str, tuple[int, int]]) -> list[bytes]:
        """Fetch a range (its start and length) of each file."""
        pieces: list[Piece] = []
        counts = []
        for file, (start, nbytes) in ranges.items():
            parts = list(Segment(start, nbytes).pieces(*self._place(file)))
            pieces += parts
            counts.append(len(parts))
        found = []

        def arrived(nbytes: int) -> None:
            self.fetched += nbytes

        with closing(self._pieces(pieces, arrived)) as fetched:
            for count in counts:
                found.append(b"".join(bytes(next(fetched)) for _ in range(count)))
        return found

    def _place(self, file: str) -> tuple[str, int]:
        return f"{self._name}/{file}", self._manifest.files[file].nbytes

    def _pieces(
        self, pieces: list[Piece], arrived: Callable[[int], None]
    ) -> Generator[memoryview]:
        return fetch_pieces(self._peer, pieces, arrived=arrived, say=self._say)

    def _fetch_all(self, plans: dict[str, list[Segment]], progress: Progress) -> list[str]:
        """Write files as planned; return those that are wrong, which are removed."""
        rests = {
            file: [s for segment in plan if (s := segment.after(self._have[file]))]
            for file, plan in plans.items()
        }
        pieces = [
            piece
            for file, rest in rests.items()
            for segment in rest
            for piece in segment.pieces(*self._place(file))
        ]

        def arrived(nbytes: int) -> None:
            self.fetched += nbytes
            self._show(nbytes, progress)

        wrong = []
        self._show(0, progress)
        with (
            ThreadPoolExecutor(max_workers=1) as hashing,
            ThreadPoolExecutor(max_workers=1) as syncing,
            closing(self._pieces(pieces, arrived)) as fetched,
        ):
            syncs: list[Future[None]] = []
            for file, rest in rests.items():
                path, have = self._partial / file, self._have[file]
                writer = _Writer(path, have, hashing, syncing)
                try:
                    writer.hash_begun(lambda nbytes: self._show(nbytes, progress))
                    self._write(writer, rest, fetched, progress)
                    right = writer.hexdigest() == self._manifest.files[file].sha256
                finally:
                    syncs.append(writer.close())
                if not right:
                    path.unlink()
                    mixed = have or any(segment.local for segment in rest)
                    if not mixed:
                        raise self._differs(file)
                    wrong.append(file)
            for sync in syncs:
                sync.result()
        return wrong

    def _write(
        self,
        writer: _Writer,
        rest: list[Segment],
        fetched: Iterator[memoryview],
        progress: Progress,
    ) -> None:
        for segment in rest:
            if segment.local is None:
                for _ in range(-(-segment.nbytes // PIECE_BYTES)):
                    writer.write(next(fetched))
                continue
            chunks = iter(self._here.read(segment.local, 0, segment.nbytes))
            while True:
                try:
                    chunk = next(chunks, b"")
                except GptOssError:
                    # It has changed since. The file comes out wrong, and is fetched whole.
                    break
                if not chunk:
                    break
                writer.write(chunk)
                self.copied += len(chunk)
                self._show(len(chunk), progress)

    def _show(self, nbytes: int, progress: Progress) -> None:
        self._written += nbytes
        # All of it is told once, at the end.
        if self._written < self._total:
            progress(self._written, self._total)

    def _differs(self, file: str) -> DownloadError:
        sha256 = self._manifest.files[file].sha256
        return DownloadError(
            f"{self._name}/{file} must have the sha256 {sha256}, but {self._peer.host} "
            "sends other bytes.",
            hint="Check it on the machine that shares it: gptoss-mlx verify MODEL",
        )


class _Writer:
    """Appends to a file and hashes it, both at once, and syncs it to the disk meanwhile."""

    def __init__(
        self,
        path: Path,
        have: int,
        hashing: ThreadPoolExecutor,
        syncing: ThreadPoolExecutor,
    ) -> None:
        self._path, self._have = path, have
        self._hashing, self._syncing = hashing, syncing
        self._descriptor = open_partial(path)
        self._digest = hashlib.sha256()
        self._unsynced = 0

    def hash_begun(self, hear: Callable[[int], None]) -> None:
        """Hash what an earlier run has written."""
        with storage_errors(self._path), self._path.open("rb", buffering=0) as file:
            left = self._have
            while left and (chunk := file.read(min(PIECE_BYTES, left))):
                self._digest.update(chunk)
                left -= len(chunk)
                hear(len(chunk))

    def write(self, piece: bytes | memoryview) -> None:
        """Write and hash a piece."""
        # Both release the interpreter lock.
        hashed = self._hashing.submit(self._digest.update, piece)
        try:
            with storage_errors(self._path):
                write_whole(self._descriptor, piece)
        finally:
            hashed.result()
        self._unsynced += len(piece)
        if self._unsynced >= SYNC_BYTES:
            # Not all at the end, where Ctrl-C would have to wait for it.
            self._unsynced = 0
            self._syncing.submit(self._sync)

    def hexdigest(self) -> str:
        """Return the sha256 of all that was written, in hexadecimal."""
        return self._digest.hexdigest()

    def close(self) -> Future[None]:
        """Sync the file to the disk and close it, later."""
        return self._syncing.submit(self._close)

    def _sync(self) -> None:
        with storage_errors(self._path):
            sync_file(self._descriptor)

    def _close(self) -> None:
        try:
            self._sync()
        finally:
            os.close(self._descriptor)
