"""Which library a user means: paths, or the name of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gptoss_mlx.errors import (
    LibraryNotFoundError,
    NoPermissionError,
    UnreadableDocumentError,
)
from gptoss_mlx.files import is_there, nearest_path
from gptoss_mlx.library import catalog
from gptoss_mlx.library.library import Library
from gptoss_mlx.library.update import Progress

__all__ = ["choose_library"]


def choose_library(
    chosen: Sequence[str],
    *,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Library:
    """Open a library, make it if it is not there, and read what has changed.

    Args:
        chosen: Paths, or one name of a library. What exists as a file is a path.
        progress: Called with how far the reading is.
        say: Called with what the user should know, in a line.

    Raises:
        LibraryNotFoundError: It is neither a path nor a library's name; or a name stands
            beside others.
        StorageError: A path is empty or does not exist, or the index cannot be written.
        UnreadableDocumentError: It has no document. If it is new, it is removed again.
    """
    before = catalog.names()
    names = [text for text in chosen if not is_there(text)]
    if not names:
        library = Library(*chosen, update=False, say=say)
    elif len(chosen) == 1:
        library = Library(name=catalog.known(names[0]), update=False, say=say)
    else:
        near = nearest_path(names[0])
        hint = f"Did you mean {near}?" if near is not None else LibraryNotFoundError.hint
        raise LibraryNotFoundError(
            f"Paths, or one library, must be named, but {names[0]} is no path.", hint=hint
        )
    try:
        _update(library, progress, say)
        _check_documents(library, say, is_new=library.name not in before)
    except BaseException:
        library.close()
        raise
    return library


def _update(
    library: Library,
    progress: Callable[[Progress], None] | None,
    say: Callable[[str], None],
) -> None:
    try:
        library.update(progress=progress)
    except NoPermissionError as error:
        if not library.names():
            raise
        say(f"What has changed in {library.name} is not read. {error}")


def _check_documents(library: Library, say: Callable[[str], None], *, is_new: bool) -> None:
    """Check that there is something to answer from, and say what is left out."""
    reasons = dict(library.skipped())
    roots = catalog.roots_of(library.name)
    has_archive = any(root.is_archive and root.path not in reasons for root in roots)
    if library.names() or has_archive:
        for root in library.roots:
            if root in reasons:
                say(f"{root} is left out: {reasons.pop(root)}")
        if is_new and reasons:
            count = "1 file is" if len(reasons) == 1 else f"{len(reasons):,} files are"
            say(f"{count} left out: gptoss-mlx library list --skipped {library.name}")
        return
    if is_new:
        library.close()
        catalog.remove(library.name)
    root = library.roots[0] if library.roots else library.path
    for path, reason in reasons.items():
        if path != root:
            reason = f"has no document that can be read. {path.name}: {reason}"
        raise UnreadableDocumentError(root, f"{reason}.")
    raise UnreadableDocumentError(root, "has no documents.", hint="Name another folder.")
