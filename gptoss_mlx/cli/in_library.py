"""``--in``: the files that an answer stands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.library_choice import complete_library
from gptoss_mlx.cli.output import say

if TYPE_CHECKING:
    from gptoss_mlx.library.library import Library

__all__ = ["InOpt", "PrefetchOpt", "open_library"]

InOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--in",
        metavar="PATH|NAME",
        help="A folder, a file or a library to answer from. Paths may be several.",
        autocompletion=complete_library,
        show_default=False,
    ),
]

PrefetchOpt = Annotated[
    bool,
    typer.Option(
        "--prefetch/--no-prefetch",
        help="With --in: whether to search for the question before the model begins.",
    ),
]


def open_library(chosen: Sequence[str] | None, context: typer.Context) -> Library | None:
    """Open the library of the paths or the name, and read what has changed.

    Args:
        chosen: Paths, or one name. None or empty: no library.
        context: Of the command, at whose end the library is closed.

    Raises:
        LibraryNotFoundError: There is no such library.
        StorageError: A path does not exist, or the index cannot be written.
    """
    if not chosen:
        return None
    # Imported here so that --help does not wait for SQLite.
    from gptoss_mlx.cli.progress import file_progress
    from gptoss_mlx.grounding.library_choice import choose_library

    with file_progress("Reading the files") as show:
        library = choose_library(chosen, progress=lambda done: show(*done), say=say)
    context.call_on_close(library.close)
    return library
