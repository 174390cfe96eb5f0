from __future__ import annotations

import errno
import gc
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gptoss_mlx.checkpoint import row_reader
from gptoss_mlx.checkpoint.row_reader import RowReader, Rows
from gptoss_mlx.checkpoint.safetensors import TensorInfo, read_header
from gptoss_mlx.errors import CorruptFileError, StorageError

ROWS, ROW_BYTES = 6, 3000


@pytest.fixture
def tensor(tmp_path: Path) -> TensorInfo:
    """A tensor of six rows, whose bytes are those of a seeded generator."""
    from tiny_checkpoint import write_safetensors

    data = np.random.RandomState(0).randint(0, 256, (ROWS, ROW_BYTES)).astype(np.uint8)
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"before": data[:1], "rows": data})
    return read_header(path)["rows"]


def content(tensor: TensorInfo) -> bytes:
    """The tensor's bytes, as a plain read gives them."""
    return tensor.path.read_bytes()[tensor.start : tensor.start + tensor.nbytes]


def row(tensor: TensorInfo, number: int) -> tuple[Rows, bytearray]:
    """A demand for one row, and the memory that it goes to."""
    into = bytearray(ROW_BYTES)
    return Rows(tensor, number * ROW_BYTES, memoryview(into)), into


def test_rows_are_read_in_any_order_into_the_given_memory(
    tensor: TensorInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are cut into several reads; and their bytes are counted."""
    monkeypatch.setattr(row_reader, "PART_BYTES", 700)
    reader = RowReader(threads=3)
    wanted = [row(tensor, number) for number in (4, 0, 5)]

    reader.read([rows for rows, _ in wanted])

    whole = content(tensor)
    for (_, into), number in zip(wanted, (4, 0, 5), strict=True):
        assert into == whole[number * ROW_BYTES : (number + 1) * ROW_BYTES]
    assert reader.bytes_read == 3 * ROW_BYTES


def test_a_short_read_is_continued(
    tensor: TensorInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system may give fewer bytes than were asked for; the rest is asked for again."""
    preadv = os.preadv

    def short(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        return preadv(descriptor, [buffers[0][:7]], offset)

    monkeypatch.setattr(os, "preadv", short)
    rows, into = row(tensor, 2)

    RowReader().read([rows])

    assert into == content(tensor)[2 * ROW_BYTES : 3 * ROW_BYTES]


def test_a_file_that_was_cut_is_named(tensor: TensorInfo) -> None:
    """Before the first read, and between two: never an answer from what is missing."""
    reader = RowReader()
    rows, _ = row(tensor, 0)
    reader.read([rows])
    os.truncate(tensor.path, tensor.start + 10)

    with pytest.raises(CorruptFileError, match=r"model\.safetensors: must have at least"):
        reader.read([rows])
    with pytest.raises(CorruptFileError, match="must have at least"):
        RowReader().read([rows])


@pytest.mark.parametrize("how", ["renamed", "written", "removed"])
def test_a_file_that_was_replaced_is_named(tensor: TensorInfo, how: str) -> None:
    """The open descriptor still gives the old file after a rename: it is refused too."""
    reader = RowReader()
    rows, _ = row(tensor, 0)
    reader.read([rows])
    if how == "removed":
        tensor.path.unlink()
    elif how == "renamed":
        other = tensor.path.with_name("other")
        other.write_bytes(tensor.path.read_bytes())
        other.replace(tensor.path)
    else:
        with tensor.path.open("r+b") as file:
            file.seek(tensor.start)
            file.write(b"other")
        os.utime(tensor.path, ns=(0, 0))

    with pytest.raises((CorruptFileError, StorageError), match=r"model\.safetensors"):
        reader.read([rows])


def test_a_file_that_changes_during_a_read_is_refused(
    tensor: TensorInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at again after the read."""
    preadv = os.preadv

    def changed(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        count = preadv(descriptor, buffers, offset)
        os.utime(tensor.path, ns=(0, 0))
        return count

    monkeypatch.setattr(os, "preadv", changed)
    rows, _ = row(tensor, 0)

    with pytest.raises(CorruptFileError, match="changed while the model was in use"):
        RowReader().read([rows])


def test_a_read_that_fails_names_file_and_tensor(
    tensor: TensorInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of several fails: all others have ended when its error is raised."""
    preadv, running, most = os.preadv, 0, threading.Lock()

    def failing(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal running
        with most:
            running += 1
        try:
            if offset == tensor.start + ROW_BYTES:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return preadv(descriptor, buffers, offset)
        finally:
            with most:
                running -= 1

    monkeypatch.setattr(os, "preadv", failing)
    wanted = [row(tensor, number)[0] for number in range(ROWS)]

    with pytest.raises(StorageError, match=r"model\.safetensors: rows: Input/output"):
        RowReader().read(wanted)
    assert running == 0


@pytest.mark.parametrize("kind", ["content", "mode", "link"])
def test_a_write_whose_time_was_put_back_is_noticed(tensor: TensorInfo, kind: str) -> None:
    """By the time of change; a new mode or link changes that too, and no content."""
    reader = RowReader()
    reader.open(tensor.path)
    status = tensor.path.stat()
    time.sleep(0.02)  # the system's clock ticks more slowly than the test runs
    rows, into = row(tensor, 0)
    if kind == "mode":
        tensor.path.chmod(0o600)
    elif kind == "link":
        tensor.path.with_name("link").hardlink_to(tensor.path)
    else:
        with tensor.path.open("r+b") as file:
            file.seek(tensor.start)
            file.write(b"other")
        os.utime(tensor.path, ns=(status.st_atime_ns, status.st_mtime_ns))

    if kind == "content":
        for _ in range(2):
            with pytest.raises(CorruptFileError, match="changed while the model"):
                reader.read([rows])
    else:
        for _ in range(2):
            reader.read([rows])
        assert into == content(tensor)[:ROW_BYTES]


class StopError(BaseException):
    """What a signal handler raises."""


def test_after_a_signal_nothing_is_written_any_more(
    tensor: TensorInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads that run are awaited, even if a second signal comes; others do not begin."""
    preadv, begun = os.preadv, 0

    def slow(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal begun
        begun += 1
        time.sleep(0.2)
        return preadv(descriptor, buffers, offset)

    def stop(*_: object) -> None:
        raise StopError

    monkeypatch.setattr(os, "preadv", slow)
    reader = RowReader(threads=2)
    wanted = [row(tensor, number) for number in range(ROWS)]
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        reader.read([rows for rows, _ in wanted])
    except StopError:
        pass
    else:
        raise AssertionError
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = [bytes(into) for _, into in wanted]
    time.sleep(0.3)

    assert [bytes(into) for _, into in wanted] == found
    assert begun == 2
    monkeypatch.undo()
    reader.read([rows for rows, _ in wanted])
    assert b"".join(into for _, into in wanted) == content(tensor)


def test_a_read_waits_for_one_that_was_left_while_it_ran(
    tensor: TensorInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal may come between any two lines, so that nobody waits."""
    preadv, running = os.preadv, 0
    lock = threading.Lock()

    def slow(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        nonlocal running
        with lock:
            running += 1
        time.sleep(0.1)
        count = preadv(descriptor, buffers, offset)
        with lock:
            running -= 1
        return count

    def leave(batch: object) -> None:
        time.sleep(0.05)
        raise StopError

    monkeypatch.setattr(os, "preadv", slow)
    reader = RowReader(threads=2)
    wanted = [row(tensor, number)[0] for number in range(ROWS)]
    with monkeypatch.context() as patch:
        patch.setattr(row_reader._Batch, "wait", leave)
        with pytest.raises(StopError):
            reader.read(wanted)
    assert running == 2

    rows, into = row(tensor, 0)
    reader.read([rows])

    assert running == 0
    assert into == content(tensor)[:ROW_BYTES]


@pytest.mark.parametrize("started", [0, 1])
def test_threads_that_the_system_refuses_are_done_without(
    tensor: TensorInfo, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    """Those that run read, or the caller does; later reads try again."""
    left, start = started, threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        nonlocal left
        if not left:
            raise RuntimeError("can't start new thread")
        left -= 1
        start(thread)

    reader = RowReader(threads=3)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(2):
            wanted = [row(tensor, number) for number in range(ROWS)]
            reader.read([rows for rows, _ in wanted])
            assert b"".join(into for _, into in wanted) == content(tensor)
    reader.read([row(tensor, number)[0] for number in range(ROWS)])
    assert sum("gptoss-mlx read" in thread.name for thread in threading.enumerate()) >= 3
    reader.close()


def test_the_hint_names_the_command_for_a_folder_of_ones_own(tensor: TensorInfo) -> None:
    """A converted folder is not downloaded; a file that is gone is not the disk's fault."""
    reader = RowReader()
    rows, _ = row(tensor, 0)
    reader.open(tensor.path)
    (tensor.path.parent / "manifest.json").write_text("{}")
    os.truncate(tensor.path, tensor.start + 10)

    with pytest.raises(CorruptFileError) as cut:
        reader.read([rows])
    tensor.path.unlink()
    with pytest.raises(StorageError, match="was removed") as removed:
        reader.read([rows])

    assert f"gptoss-mlx verify {tensor.path.parent}" in cut.value.hint
    assert "Put the file back" in removed.value.hint


def test_a_reader_that_is_dropped_ends_its_threads_and_closes_its_files(
    tensor: TensorInfo,
) -> None:
    """Loading and dropping models does not use up descriptors."""
    gc.collect()  # readers of other tests
    before, files = threading.active_count(), len(os.listdir("/dev/fd"))  # noqa: PTH208
    reader = RowReader()
    reader.read([row(tensor, number)[0] for number in range(2)])

    del reader

    for thread in threading.enumerate():
        if thread.name.startswith("gptoss-mlx read"):
            thread.join(10)
    assert threading.active_count() <= before
    assert len(os.listdir("/dev/fd")) == files  # noqa: PTH208
