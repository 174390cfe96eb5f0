"""Updates a library, with progress, and says what was done."""

from __future__ import annotations

import re
import shlex
import time
from collections import Counter
from typing import TYPE_CHECKING

from gptoss_mlx.cli.library_choice import short_path
from gptoss_mlx.cli.output import say
from gptoss_mlx.cli.progress import file_progress

if TYPE_CHECKING:
    from gptoss_mlx.library.library import Figures, Library
    from gptoss_mlx.library.update import Update

__all__ = ["holdings", "number_text", "updated"]

# More are in a list of their own.
MAX_SKIPPED = 10

# What a reader says if its package is not installed.
_MISSING = re.compile(r"needs (\S+): (pip install .*)")


def updated(library: Library, *, continues: str, is_new: bool = False) -> None:
    """Update a library, and say how much was done.

    Args:
        library: The library.
        continues: The command that continues it after Ctrl-C.
        is_new: Whether to say how much is in it, and what was skipped.
    """
    begun = time.monotonic()
    try:
        with file_progress(f"Indexing {library.name}") as show:
            done = library.update(progress=lambda so_far: show(*so_far))
    except KeyboardInterrupt:
        say(f"Stopped. What was read is kept. To continue: {continues}")
        raise
    seconds = time.monotonic() - begun
    if is_new:
        figures = library.figures()
        parts = [
            *holdings(library, figures),
            number_text(figures.passages, "passage"),
            f"{figures.skipped:,} skipped",
        ]
    else:
        parts = _changes(done)
    say(f"{library.name}: {', '.join(parts)}, in {seconds:.1f} s")
    _report_skipped(library, lists=is_new)


def holdings(library: Library, figures: Figures) -> list[str]:
    """Return what is in a library in words: documents, and archives if there are any."""
    from gptoss_mlx.library import catalog

    archives = sum(root.is_archive for root in catalog.roots_of(library.name))
    documents = number_text(figures.documents, "document")
    return [documents, *([number_text(archives, "ZIM archive")] if archives else [])]


def _changes(done: Update) -> list[str]:
    counts = {
        "new": done.added,
        "changed": done.changed,
        "removed": done.removed,
        "unchanged": done.unchanged,
        "skipped": done.skipped,
    }
    return [f"{count:,} {what}" for what, count in counts.items()]


def number_text(count: int, what: str) -> str:
    """Return a number with its noun: ``1 file``, ``1,234 files``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _report_skipped(library: Library, *, lists: bool) -> None:
    """Say which files were skipped, and which package would read some of them.

    Args:
        library: The library.
        lists: Whether to list the first ones.
    """
    skipped = library.skipped()
    packages: Counter[tuple[str, str]] = Counter()
    others = []
    for path, reason in skipped:
        if missing := _MISSING.search(reason):
            packages[missing[1], missing[2]] += 1
        else:
            others.append((path, reason))
    if lists:
        for path, reason in others[:MAX_SKIPPED]:
            say(f"Skipped {short_path(path)}: {reason}")
        if len(others) > MAX_SKIPPED:
            command = f"gptoss-mlx library list --skipped {shlex.quote(library.name)}"
            say(f"{len(others) - MAX_SKIPPED:,} more, all listed by: {command}")
    for (package, command), count in packages.items():
        say(f"{number_text(count, 'file')} skipped for want of {package}: {command}")
