"""The standard streams of the process."""

from __future__ import annotations

import io
import os
import sys

__all__ = [
    "is_stdout_error",
    "open_closed_streams",
    "print_in_any_encoding",
    "watch_stdout",
]


class _WatchedFile(io.FileIO):
    """Remembers the error of a write, which does not say what it was writing to."""

    error: OSError | None = None

    def write(self, data: object) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError as error:
            self.error = error
            raise


def open_closed_streams() -> None:
    """Give closed standard streams the null device: no other file gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - for good


def print_in_any_encoding() -> None:
    """Replace what a stream's encoding does not have, as a latin-1 terminal's."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def watch_stdout() -> None:
    """Let ``is_stdout_error`` know what writing to stdout raises from now on."""
    stdout = sys.stdout
    # Another one is a test's, or somebody's who calls the program from Python.
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
    """Tell whether writing to stdout has raised this error."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return isinstance(raw, _WatchedFile) and raw.error is error
