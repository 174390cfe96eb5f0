"""Shows progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gptoss_mlx.cli.output import say
from gptoss_mlx.controls import escaped

if TYPE_CHECKING:
    from rich.status import Status

__all__ = ["TokenProgress", "byte_progress", "file_progress", "size_text", "token_progress"]

# Seconds between lines if there is no terminal.
LINE_S = 10.0


def size_text(nbytes: float) -> str:
    """Format a number of bytes in GB, or in MB below a tenth of a GB."""
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"


@contextmanager
def byte_progress(task: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes the bytes done and the total, and shows them.

    Shows a bar with the rate if stderr is a terminal, and plain lines otherwise.

    Args:
        task: The task, capitalised, e.g. ``Converting``.
    """
    if not sys.stderr.isatty():
        yield _plain_lines(task)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))
    row = None

    def show(done: int, total: int) -> None:
        nonlocal row
        if row is None:
            # Not earlier, so that no bar stands above an error. Bytes of an earlier run
            # do not count for the rate.
            bar.start()
            row = bar.add_task(escaped(task), total=total, completed=done)
        bar.update(row, completed=done, total=total)

    try:
        yield show
    finally:
        if row is not None:
            bar.stop()


@contextmanager
def file_progress(task: str) -> Iterator[Callable[[int, int, int, int], None]]:
    """Yield a function that takes how far the reading of files is, and shows it.

    Its arguments are the files read, all files, the bytes read and all bytes. Shows a bar
    if stderr is a terminal, which is gone at the end, and plain lines otherwise.

    Args:
        task: The task, capitalised, e.g. ``Indexing``.
    """
    if not sys.stderr.isatty():
        yield _plain_file_lines(task)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[files]}", markup=False),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        # Until the number of files is known, which takes a while in a large folder.
        row = bar.add_task(escaped(task), total=None, files="")

        def show(files: int, all_files: int, nbytes: int, all_bytes: int) -> None:
            # A byte more for each file: empty ones take time as well.
            bar.update(
                row,
                completed=nbytes + files,
                total=all_bytes + all_files,
                files=f"{files:,}/{all_files:,} files",
            )

        yield show


def _plain_file_lines(task: str) -> Callable[[int, int, int, int], None]:
    started = shown = time.monotonic()

    def show(files: int, all_files: int, nbytes: int, all_bytes: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if files == all_files or now - shown < LINE_S:
            return
        shown = now
        line = f"{task}: {files:,} of {all_files:,} files"
        if nbytes:
            left = (now - started) * (all_bytes - nbytes) / nbytes
            line += f", {size_text(nbytes)} of {size_text(all_bytes)}"
            line += f", {_time_text(left)} left"
        say(line)

    return show


def _time_text(seconds: float) -> str:
    """Format a duration as hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _plain_lines(task: str) -> Callable[[int, int], None]:
    started = shown = time.monotonic()
    before: int | None = None

    def show(done: int, total: int) -> None:
        nonlocal shown, before
        now = time.monotonic()
        if before is None:
            before = done
        if done < total and now - shown < LINE_S:
            return
        shown = now
        rate = (done - before) / max(now - started, 1e-3)
        line = f"{task}: {size_text(done)} of {size_text(total)}, {size_text(rate)}/s"
        if done < total and done > before:
            line += f", {_time_text((total - done) / rate)} left"
        say(line)

    return show


class TokenProgress:
    """A status line until the model answers."""

    def __init__(self, status: Status | None) -> None:
        self._status = status
        self._begun = time.monotonic()
        self._tokens = 0

    def reading(self, done: int, total: int) -> None:
        """Show that ``done`` tokens of the prompt are prefilled."""
        self._say(f"Prefilling {done:,} of {total:,} tokens")

    def reasoning(self) -> None:
        """Count one more token that is not part of the answer."""
        if not self._tokens:
            self._begun = time.monotonic()
        self._tokens += 1
        self._say(
            f"Reasoning {time.monotonic() - self._begun:.1f} s, {self._tokens} tokens"
        )

    def stop(self) -> None:
        """Remove the line; the answer is written in its place."""
        if self._status is not None:
            self._status.stop()

    def _say(self, text: str) -> None:
        if self._status is not None:
            self._status.update(f"[dim]{text}[/dim]")


@contextmanager
def token_progress() -> Iterator[TokenProgress]:
    """Yield a status line for an answer's progress, if stderr is a terminal."""
    if not sys.stderr.isatty():
        yield TokenProgress(None)
        return
    from rich.console import Console

    with Console(stderr=True).status("[dim]Prefilling the question[/dim]") as status:
        yield TokenProgress(status)
