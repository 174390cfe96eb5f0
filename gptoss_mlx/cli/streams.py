"""The standard streams of the process."""

from __future__ import annotations

import io
import os
import sys

__all__ = [
    "has_lost_its_reader",
    "is_stdout_error",
    "open_closed_streams",
    "print_in_any_encoding",
    "watch_stdout",
]


class _WatchedFile(io.FileIO):
    """Keeps the error of a write, since an OSError does not name the stream."""

    error: OSError | None = None

    def write(self, data: object) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.error = error
            raise


def open_closed_streams() -> None:
    """Open closed standard streams as the null device; no file may get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - stays open


def print_in_any_encoding() -> None:
    """Replace characters that a stream's encoding lacks, for example latin-1's."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def watch_stdout() -> None:
    """Watch for errors of writes to stdout, for ``is_stdout_error``."""
    stdout = sys.stdout
    # Another object is from a test, or from a caller in Python.
    if stdout is not sys.__stdout__ or not isinstance(stdout, io.TextIOWrapper):
        return
    stdout.flush()
    raw = _WatchedFile(stdout.fileno(), "w", closefd=False)
    # With python -u there is no buffer.
    buffered = isinstance(stdout.buffer, io.BufferedWriter)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw) if buffered else raw,
        encoding=stdout.encoding,
        errors=stdout.errors,
        line_buffering=stdout.line_buffering,
        write_through=stdout.write_through,
    )


def is_stdout_error(error: OSError) -> bool:
    """Whether a write to stdout has raised this error."""
    return _stdout_error() is error


def has_lost_its_reader() -> bool:
    """Whether a write to stdout has found the pipe closed."""
    return isinstance(_stdout_error(), BrokenPipeError)


def _stdout_error() -> OSError | None:
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return raw.error if isinstance(raw, _WatchedFile) else None
