"""``gptoss-mlx library``."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptoss_mlx.cli.library_choice import (
    complete_library,
    libraries_with,
    short_path,
)
from gptoss_mlx.cli.library_search import open_document, search
from gptoss_mlx.cli.library_update import holdings, number_text, updated
from gptoss_mlx.cli.options import JsonOpt
from gptoss_mlx.cli.output import print_json, print_rows, say
from gptoss_mlx.cli.progress import file_progress, size_text
from gptoss_mlx.controls import escaped

if TYPE_CHECKING:
    from gptoss_mlx.library.library import Figures, Library

__all__ = ["library"]

library = typer.Typer(rich_markup_mode=None, no_args_is_help=False)
library.command("search")(search)
library.command("open")(open_document)

NamesArg = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Names that `gptoss-mlx library list` shows.  [default: all]",
        autocompletion=complete_library,
        show_default=False,
    ),
]


@library.callback(invoke_without_command=True)
def libraries(context: typer.Context) -> None:
    """Index folders and files, and search them offline.

    A library is a name for folders and files. They are read once, and again when they
    have changed; nothing leaves this machine.

    Example: gptoss-mlx library add ~/notes
    """
    if context.invoked_subcommand is None:
        list_libraries()


@library.command("add")
def add(
    # Text, not Path: to that, an empty one is the current folder; and typer would refuse
    # what is not readable, without the hint of our own.
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Folders and files. What is in a folder is included.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="The library to add them to, or to make.  [default: the first one's name]",
            autocompletion=complete_library,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Index folders and files, to search them and to ask about them.

    Text, Markdown, code, HTML, PDF, DOCX, EPUB, mail, CSV and ZIM archives are read. What
    .gitignore names is left out. After an interruption, the same command continues.

    Example: gptoss-mlx library add ~/notes ~/contracts --name home
    """
    from gptoss_mlx.files import check_exists
    from gptoss_mlx.library.library import Library

    for path in paths:
        check_exists(path, "file or folder")
    command = ["gptoss-mlx", "library", "add", *paths]
    command += ["--name", name] if name is not None else []
    with Library(*paths, name=name, update=False, say=say) as opened:
        updated(opened, continues=shlex.join(command), is_new=True)
        chosen = shlex.quote(opened.name)
        if holdings(opened, opened.figures()) != ["0 documents"]:
            say(f"To search it: gptoss-mlx library search --in {chosen} QUERY")
            say(f"To ask about it: gptoss-mlx ask --in {chosen} QUESTION")


@library.command("list")
def list_libraries(
    names: NamesArg = None,
    skipped: Annotated[
        bool,
        typer.Option("--skipped", help="List the files that were not read, and why."),
    ] = False,
    as_json: JsonOpt = False,
) -> None:
    """List the libraries, or the files that they skipped.

    Example: gptoss-mlx library list --skipped notes
    """
    from gptoss_mlx.cli.library_choice import open_libraries
    from gptoss_mlx.library import catalog
    from gptoss_mlx.library.library import Library

    if not (names or catalog.names()):
        say("There are no libraries yet.")
        say("Hint: gptoss-mlx library add FOLDER")
        if as_json:
            print_json([])
        return
    if not (names or skipped or as_json):
        print_rows((name, _summary(name)) for name in catalog.names())
        return
    opened = open_libraries(names, lambda path: Library(path, update=False))
    if skipped:
        _list_skipped(opened, as_json=as_json)
    elif as_json:
        print_json([_described(each) for each in opened])
    else:
        print_rows((each.name, _summary(each.name)) for each in opened)


@library.command("update")
def update(names: NamesArg = None) -> None:
    """Read the files that have changed, and forget those that are gone.

    Example: gptoss-mlx library update notes
    """
    from gptoss_mlx.cli.library_choice import from_each, open_libraries
    from gptoss_mlx.library.library import Library

    command = shlex.join(["gptoss-mlx", "library", "update", *(names or [])])
    found: list[str] = []
    for text in names or []:
        found += [name for name, _ in libraries_with(text)]

    def update_one(opened: Library) -> None:
        with opened:
            updated(opened, continues=command)

    from_each(open_libraries(found, Library), update_one)


@library.command("remove")
def remove(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help="A library, or a folder or file in one.",
            autocompletion=complete_library,
            show_default=False,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a library, or a folder from it. The files themselves stay.

    Example: gptoss-mlx library remove notes
    """
    import sys

    from gptoss_mlx.errors import AnswerError, LibraryNotFoundError
    from gptoss_mlx.library import catalog
    from gptoss_mlx.library.library import Library

    found = libraries_with(name)
    if len(found) > 1:
        listed = ", ".join(each for each, _ in found)
        raise LibraryNotFoundError(
            f"{name} is in {len(found)} libraries.", hint=f"Name one of them: {listed}"
        )
    ((chosen, root),) = found
    what = chosen if root is None else f"{short_path(root)} from {chosen}"
    if not yes:
        if not sys.stdin.isatty():
            raise AnswerError(
                f"{what} is not removed without confirmation.",
                hint=f"gptoss-mlx library remove --yes {shlex.quote(name)}",
            )
        question = f"Remove {escaped(what)}{_size(chosen)}? The files themselves stay."
        if not typer.confirm(question, default=False, err=True):
            return
    if root is None:
        catalog.remove(chosen)
    else:
        with (
            Library(name=chosen, update=False, say=say) as opened,
            file_progress(f"Removing {short_path(root)}") as show,
        ):
            opened.remove(root, progress=lambda so_far: show(*so_far))
    say(f"Removed {what}. The files themselves stay.")


def _size(name: str) -> str:
    from gptoss_mlx.errors import GptOssError
    from gptoss_mlx.library.library import Library

    try:
        with Library(name=name, update=False) as opened:
            figures = opened.figures()
    except GptOssError:  # a damaged index can be removed all the same
        return ""
    documents = number_text(figures.documents, "document")
    return f" ({documents}, index {size_text(figures.index_bytes)})"


def _list_skipped(opened: list[Library], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"library": each.name, "path": str(path), "reason": reason}
                for each in opened
                for path, reason in each.skipped()
            ]
        )
        return
    print_rows(
        (short_path(path), reason) for each in opened for path, reason in each.skipped()
    )
    if not any(each.skipped() for each in opened):
        say("Nothing was skipped.")


def _described(opened: Library) -> dict[str, Any]:
    figures = opened.figures()
    return {
        "name": opened.name,
        "paths": [str(path) for path in opened.roots],
        "documents": figures.documents,
        "passages": figures.passages,
        "skipped": figures.skipped,
        "bytes": figures.nbytes,
        "index_bytes": figures.index_bytes,
        "updated": _time(figures, "%Y-%m-%dT%H:%M:%S%z") or None,
    }


def _summary(name: str) -> str:
    from gptoss_mlx.errors import GptOssError
    from gptoss_mlx.library.library import Library

    try:
        with Library(name=name, update=False) as opened:
            figures, roots = opened.figures(), opened.roots
            held = holdings(opened, figures)
    except GptOssError as error:  # the others are listed all the same
        return f"damaged: {error}"
    updated_at = _time(figures, "%Y-%m-%d %H:%M")
    parts = [
        *held,
        f"{figures.skipped:,} skipped",
        f"index {size_text(figures.index_bytes)}",
        f"updated {updated_at}" if updated_at else "unfinished",
    ]
    return f"{', '.join(parts)}: {', '.join(map(short_path, roots))}"


def _time(figures: Figures, form: str) -> str:
    import datetime

    if figures.updated is None:
        return ""
    return datetime.datetime.fromtimestamp(figures.updated).astimezone().strftime(form)
