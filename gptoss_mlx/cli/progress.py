"""Shows how many bytes are done, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

__all__ = ["byte_progress", "size_text"]

# Without a terminal, a line now and then.
SECONDS_BETWEEN_LINES = 10.0


def size_text(nbytes: float) -> str:
    """Write a number of bytes for people: in GB, or MB below a tenth of one."""
    return f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.1f} MB"


@contextmanager
def byte_progress(task: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function that takes the bytes done and those in all, and shows them.

    A bar with the rate where stderr is a terminal, plain lines where it is none.

    Args:
        task: What is being done, capitalised, e.g. ``Converting``.
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
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        row = bar.add_task(task, total=None)
        started = False

        def show(done: int, total: int) -> None:
            nonlocal started
            if not started:
                # What an earlier run has done does not count towards the rate.
                bar.reset(row, completed=done, total=total)
                started = True
            bar.update(row, completed=done, total=total)

        yield show


def _plain_lines(task: str) -> Callable[[int, int], None]:
    started = shown = time.monotonic()
    before: int | None = None

    def show(done: int, total: int) -> None:
        nonlocal shown, before
        now = time.monotonic()
        if before is None:
            before = done
        if done < total and now - shown < SECONDS_BETWEEN_LINES:
            return
        shown = now
        rate = (done - before) / max(now - started, 1e-3)
        typer.echo(
            f"{task}: {size_text(done)} of {size_text(total)}, {size_text(rate)}/s",
            err=True,
        )

    return show
