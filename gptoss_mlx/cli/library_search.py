"""``gptoss-mlx library search`` and ``open``."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptoss_mlx.cli.library_choice import (
    complete_library,
    find_document,
    from_each,
    open_libraries,
    short_path,
)
from gptoss_mlx.cli.options import JsonOpt
from gptoss_mlx.cli.output import print_json, print_line, say
from gptoss_mlx.controls import escaped

if TYPE_CHECKING:
    from pathlib import Path

    from gptoss_mlx.library.index import Hit
    from gptoss_mlx.library.library import Library
    from gptoss_mlx.library.text import Text

__all__ = ["open_document", "search"]

# Around the line that is opened.
LINES = 40

InOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--in",
        metavar="NAME|PATH",
        help="A library, or a folder or file. May be repeated.  [default: all libraries]",
        autocompletion=complete_library,
        show_default=False,
    ),
]


def search(
    words: Annotated[
        list[str],
        typer.Argument(metavar="QUERY", help="What to find.", show_default=False),
    ],
    within: InOpt = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The most passages.")] = 10,
    as_json: JsonOpt = False,
) -> None:
    """Find passages in documents, the best first.

    Words are found in all their forms. The exit status is 1 if nothing is found. What has
    changed since is found after `gptoss-mlx library update`.

    Example: gptoss-mlx library search "heating costs" --in ~/contracts
    """
    from gptoss_mlx.cli.passages import QueryWords, best_lines, print_beside

    query = " ".join(words)
    libraries = open_libraries(within, _index)
    found = from_each(libraries, lambda each: (each, each.search(query, limit)))
    hits = _once(_together(found))[:limit]
    if as_json:
        print_json([_described(library, hit) for library, hit in hits])
    if not hits:
        names = ", ".join(library.name for library in libraries)
        say(f"Nothing was found for {escaped(query)!r} in {names}.")
        raise typer.Exit(1)
    if as_json:
        return
    looked_for = QueryWords(query)
    for number, (library, hit) in enumerate(hits):
        if number:
            print_line("")
        print_line(_place(library, hit))
        lines = best_lines(hit, looked_for)
        width = len(f"{lines[-1][0] + 1}")
        rows = [(f"{index + 1:>{width + 2}}  ", line) for index, line in lines]
        print_beside(rows, looked_for)


def open_document(
    document: Annotated[
        str,
        typer.Argument(
            metavar="DOC",
            help="A document's name, its path, or an end of one that no other has. "
            "DOC:LINE is as --line.",
            show_default=False,
        ),
    ],
    line: Annotated[
        int | None,
        typer.Option("--line", "-n", min=1, help="Show the lines around this one."),
    ] = None,
    within: InOpt = None,
) -> None:
    """Print a document as it was indexed, with line numbers.

    Example: gptoss-mlx library open lease.pdf --line 12
    """
    from gptoss_mlx.cli.passages import print_beside
    from gptoss_mlx.errors import DocumentNotFoundError

    libraries = open_libraries(within, _index)
    try:
        library, name = find_document(document, libraries)
    except DocumentNotFoundError:
        place = re.fullmatch(r"(.+):(\d+)", document)
        if place is None or line is not None:
            raise
        library, name = find_document(place[1], libraries)
        line = int(place[2])
    text = library.text(name)
    if line is not None and line > len(text.lines):
        raise DocumentNotFoundError(
            f"{name} has {len(text.lines):,} lines, and no line {line:,}.",
            hint=f"gptoss-mlx library open {shlex.quote(name)}",
        )
    print_beside(_numbered(text, line))


def _numbered(text: Text, line: int | None) -> list[tuple[str, str]]:
    """Return labels and lines: all, or those around a line, counted from 1."""
    first, last = 0, len(text.lines)
    if line is not None:
        first = max(0, min(line - 1 - LINES // 2, last - LINES))
        last = min(last, first + LINES)
    width = len(str(last))
    starts = {start: number for number, start in enumerate(text.pages, 1)}
    rows = []
    for index in range(first, last):
        if index in starts:
            rows.append((" " * (width + 3), f"[page {starts[index]}]"))
        mark = ">" if line is not None and index == line - 1 else " "
        rows.append((f"{mark}{index + 1:>{width}}  ", text.lines[index]))
    return rows


def _index(path: str) -> Library:
    """Make the library of a path that is in none yet."""
    from gptoss_mlx.cli.library_update import updated
    from gptoss_mlx.library.library import Library

    library = Library(path, update=False, say=say)
    command = shlex.join(["gptoss-mlx", "library", "add", path])
    updated(library, continues=command, is_new=True)
    return library


def _together(found: list[tuple[Library, list[Hit]]]) -> list[tuple[Library, Hit]]:
    """Take the best of each library in turn: scores of two searches are not comparable."""
    longest = max((len(hits) for _, hits in found), default=0)
    return [
        (library, hits[rank])
        for rank in range(longest)
        for library, hits in found
        if rank < len(hits)
    ]


def _once(found: list[tuple[Library, Hit]]) -> list[tuple[Library, Hit]]:
    """Leave out what was found before: a file may be in several libraries."""
    places: dict[tuple[Path | str, int, int], tuple[Library, Hit]] = {}
    for library, hit in found:
        path = library.path_of(hit.name)
        # A page of an archive has no path of its own.
        place = hit.name if path.suffix.lower() == ".zim" else path
        places.setdefault((place, hit.first_line, hit.last_line), (library, hit))
    return list(places.values())


def _place(library: Library, hit: Hit) -> str:
    """Return where the best line is: its file and number, page and headings."""
    path = library.path_of(hit.name)
    # A page of an archive has no path of its own.
    shown = hit.name if path.suffix.lower() == ".zim" else short_path(path)
    place = f"{shown}:{hit.best_line + 1}"
    on_page = f"page {hit.page}" if hit.page is not None else ""
    return "  ".join(part for part in (place, on_page, " › ".join(hit.headings)) if part)


def _described(library: Library, hit: Hit) -> dict[str, Any]:
    """Describe a passage for ``--json``. Lines are counted from 1."""
    return {
        "library": library.name,
        "document": hit.name,
        "path": str(library.path_of(hit.name)),
        "title": hit.title,
        "first_line": hit.first_line + 1,
        "last_line": hit.last_line + 1,
        "best_line": hit.best_line + 1,
        "page": hit.page,
        "headings": list(hit.headings),
        "score": hit.score,
        "text": hit.text,
    }
