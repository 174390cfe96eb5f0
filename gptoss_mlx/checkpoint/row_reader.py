"""Reads rows of tensors into memory that is given, with several reads at a time.

A row of an expert tensor is an expert. An SSD needs 8 to 16 reads at a time for its full
speed; a page fault at a time gives a tenth of it.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from gptoss_mlx.checkpoint.safetensors import TensorInfo
from gptoss_mlx.errors import CorruptFileError, StorageError, storage_errors
from gptoss_mlx.files import FileIdentity, open_file
from gptoss_mlx.manifest import mend_hint

__all__ = ["RowReader", "Rows"]

THREADS = 8

# A longer read is cut into parts of this length, so that all threads have some.
PART_BYTES = 2 << 20

CHANGED_HINT = "Run the same command again, once nothing writes to that file."


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a tensor of the files, and where to put them.

    Attributes:
        tensor: The tensor.
        first_byte: Where the rows begin, counted from the tensor's first byte.
        into: Writable memory, as long as the rows.
    """

    tensor: TensorInfo
    first_byte: int
    into: memoryview


class RowReader:
    """Reads rows of a checkpoint's files. Each file is opened once.

    Threads may ask at the same time; one of them reads.

    Attributes:
        bytes_read: Bytes read so far.
    """

    def __init__(self, *, threads: int = THREADS) -> None:
        """Make a reader; its threads start with the first read.

        Args:
            threads: Reads at a time. At least 1.
        """
        self.bytes_read = 0
        self._threads = threads
        self._started = 0
        self._lock = threading.Lock()
        self._descriptors: dict[Path, int] = {}
        self._states: dict[Path, _State] = {}
        self._batches: _Batches = SimpleQueue()
        self._batch: _Batch | None = None  # the last one; it may have been interrupted
        self._end = weakref.finalize(self, _end, self._batches, self._descriptors.values())

    def close(self) -> None:
        """End the threads and close the files. A closed reader must not read again."""
        self._end()

    def open(self, path: Path) -> None:
        """Open a file before it is needed: each change from now on is noticed.

        Raises:
            StorageError: It cannot be opened.
        """
        with self._lock:
            self._descriptor(path)

    def read(self, wanted: Sequence[Rows]) -> None:
        """Read all rows; with an error, the memory's content is undefined.

        After any exception, also of a signal, nothing is written to the memory any more.

        Raises:
            CorruptFileError: A file has changed since the checkpoint was opened, or ends
                too early.
            StorageError: A file cannot be read.
        """
        files = {rows.tensor.path: rows.tensor for rows in wanted}
        parts = [part for rows in wanted for part in _parts(rows)]
        with self._lock:
            for tensor in files.values():
                self._check(tensor)
            self._run([self._job(part) for part in parts])
            # What was read is only used if nothing has changed until now.
            for tensor in files.values():
                self._check(tensor)
            self.bytes_read += sum(len(part.into) for part in parts)

    def _check(self, tensor: TensorInfo) -> None:
        """Check that a file is still the one whose header was read."""
        path = tensor.path
        with storage_errors(path):
            found = _State.of(os.fstat(self._descriptor(path)))
            try:
                there = FileIdentity.of(path.stat())
            except FileNotFoundError as error:
                raise StorageError(
                    f"{path}: was removed while the model was in use.",
                    hint="Put the file back, or load another model.",
                ) from error
        nbytes = found.identity.nbytes
        if nbytes < tensor.start + tensor.nbytes:
            raise CorruptFileError(
                path,
                f"must have at least {tensor.start + tensor.nbytes:,} bytes but has "
                f"{nbytes:,}: it was cut while the model was in use.",
                hint=mend_hint(path.parent),
            )
        if (
            found.identity != there
            or tensor.identity not in (None, found.identity)
            or not found.has_content_of(self._states[path])
        ):
            raise CorruptFileError(
                path, "changed while the model was in use.", hint=CHANGED_HINT
            )
        self._states[path] = found

    def _descriptor(self, path: Path) -> int:
        if path not in self._states:
            with open_file(path) as file:
                self._descriptors[path] = os.dup(file.fileno())
            _bypass_cache(self._descriptors[path])
            self._states[path] = _State.of(os.fstat(self._descriptors[path]))
        return self._descriptors[path]

    def _job(self, part: Rows) -> Callable[[], None]:
        descriptor = self._descriptor(part.tensor.path)
        return lambda: _read(descriptor, part)

    def _run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Do all jobs in the threads, and raise the first error."""
        if self._batch is not None:
            # A signal may have ended the call before its wait.
            self._batch.cancel()
            self._batch.wait()
            self._batch = None
        if len(jobs) < 2 or not self._start():
            for job in jobs:
                job()
            return
        batch = self._batch = _Batch(jobs)
        try:
            for _ in range(min(self._started, len(jobs))):
                self._batches.put(batch)
        except BaseException:
            batch.cancel()
            batch.wait()
            raise
        batch.wait()
        if batch.error is not None:
            raise batch.error

    def _start(self) -> int:
        """Start the threads; return how many run, if the system refuses some."""
        while self._started < self._threads:
            # A daemon: it must not keep the process alive, and has nothing to save.
            thread = threading.Thread(
                target=_serve,
                args=(self._batches,),
                name=f"gptoss-mlx read {self._started}",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError:
                break
            self._started += 1
        return self._started


class _Batch:
    """Jobs that threads share. Whoever waits knows that none runs any more.

    Attributes:
        error: The first job's that failed; no other is begun after it.
    """

    def __init__(self, jobs: Sequence[Callable[[], None]]) -> None:
        self.error: BaseException | None = None
        self._jobs = deque(jobs)
        self._lock = threading.Lock()
        self._doing = 0
        self._unfinished = threading.Lock()  # until its last job has ended
        self._unfinished.acquire()

    def work(self) -> None:
        """Do jobs until there are none."""
        while True:
            with self._lock:
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                self._doing += 1
            error: BaseException | None = None
            try:
                job()
            except BaseException as raised:
                error = raised
            with self._lock:
                self._doing -= 1
                if error is not None:
                    self.error = self.error or error
                    self._jobs.clear()
                self._end_if_done()

    def cancel(self) -> None:
        """Begin no more jobs."""
        with self._lock:
            self._jobs.clear()
            self._end_if_done()

    def wait(self) -> None:
        """Wait for all jobs; after a signal's exception, only for those that run."""
        try:
            with self._unfinished:
                pass
        except BaseException:
            self.cancel()
            self.wait()
            raise

    def _end_if_done(self) -> None:
        if not self._jobs and not self._doing and self._unfinished.locked():
            self._unfinished.release()


_Batches = SimpleQueue[_Batch | None]


class _State(NamedTuple):
    """What tells whether a file's content may have changed.

    Attributes:
        changed_ns: When content or metadata changed; no program can put it back.
        metadata: Mode, links, owner and group.
    """

    identity: FileIdentity
    changed_ns: int
    metadata: tuple[int, int, int, int]

    @classmethod
    def of(cls, status: os.stat_result) -> _State:
        metadata = (status.st_mode, status.st_nlink, status.st_uid, status.st_gid)
        return cls(FileIdentity.of(status), status.st_ctime_ns, metadata)

    def has_content_of(self, before: _State) -> bool:
        """Whether the content is the same, as far as the metadata tell.

        A new mode or link explains a new time of change. Nothing tells an attribute, or a
        link that came and went, from a write whose time was put back.
        """
        return self.identity == before.identity and (
            self.changed_ns == before.changed_ns or self.metadata != before.metadata
        )


def _parts(rows: Rows) -> Iterable[Rows]:
    for begin in range(0, len(rows.into), PART_BYTES):
        into = rows.into[begin : begin + PART_BYTES]
        yield Rows(rows.tensor, rows.first_byte + begin, into)


def _read(descriptor: int, part: Rows) -> None:
    tensor, into = part.tensor, part.into
    offset = tensor.start + part.first_byte
    while len(into):
        try:
            count = os.preadv(descriptor, [into], offset)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(
                f"{tensor.path}: {tensor.name}: {reason}.",
            ) from error
        if count == 0:
            raise CorruptFileError(
                tensor.path,
                f"ends inside the tensor {tensor.name!r}.",
                hint=mend_hint(tensor.path.parent),
            )
        into = into[count:]
        offset += count


def _bypass_cache(descriptor: int) -> None:
    """Keep macOS from holding a second copy of what is read in its own cache.

    There the model and the file cache share a memory that is too small for both. On Linux
    the cache is given back when memory is short, and a second read from it is faster.
    """
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # a network disk: it is only slower
            fcntl.fcntl(descriptor, fcntl.F_NOCACHE, 1)


def _serve(batches: _Batches) -> None:
    while (batch := batches.get()) is not None:
        batch.work()
        del batch  # and with it the memory
    batches.put(None)  # for the next thread


def _end(batches: _Batches, descriptors: Iterable[int]) -> None:
    batches.put(None)
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
