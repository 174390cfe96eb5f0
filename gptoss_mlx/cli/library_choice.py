"""Which libraries and which document the arguments of ``gptoss-mlx library`` name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from gptoss_mlx.cli.output import print_error, say
from gptoss_mlx.errors import StorageError

if TYPE_CHECKING:
    from gptoss_mlx.library.library import Library

__all__ = [
    "complete_library",
    "find_document",
    "from_each",
    "libraries_with",
    "open_libraries",
    "short_path",
]

Item = TypeVar("Item")
Taken = TypeVar("Taken")

# So many names are listed in a hint.
MAX_NAMES = 4
# Of more matches it is not asked whether they are one file, which takes a look-up of each.
MAX_SAME = 100


def complete_library(incomplete: str) -> list[str]:
    """List the names of libraries that begin with the typed text, for Tab completion."""
    from gptoss_mlx.errors import GptOssError
    from gptoss_mlx.library import catalog

    try:
        return [name for name in catalog.names() if name.startswith(incomplete)]
    except GptOssError:
        return []


def open_libraries(
    chosen: Sequence[str] | None,
    index: Callable[[str], Library],
) -> list[Library]:
    """Open the libraries that are named, or all. What is indexed is not updated.

    Args:
        chosen: Names, or paths. None or empty: all libraries.
        index: Called with a path that is in no library yet; returns its library.

    Raises:
        LibraryNotFoundError: There is none, or none of this name.
        StorageError: An index cannot be read.
    """
    from gptoss_mlx.errors import LibraryNotFoundError
    from gptoss_mlx.files import is_there
    from gptoss_mlx.library import catalog
    from gptoss_mlx.library.library import Library

    if not chosen:
        names = catalog.names()
        if not names:
            raise LibraryNotFoundError(
                "There is no library yet.",
                hint="Make one of a folder: gptoss-mlx library add FOLDER",
            )
        return from_each(names, lambda name: Library(name=name, update=False, say=say))
    opened = []
    for text in chosen:
        if not is_there(text):
            opened.append(Library(name=catalog.known(text), update=False, say=say))
        elif (name := catalog.find([catalog.resolved(text)])) is not None:
            opened.append(Library(name=name, update=False, say=say))
        else:
            opened.append(index(text))
    return opened


def from_each(chosen: Iterable[Item], take: Callable[[Item], Taken]) -> list[Taken]:
    """Do something with each library. One that is damaged is named, and left out.

    Args:
        chosen: The libraries.
        take: Called with each.

    Raises:
        StorageError: That of the last one, if all are damaged.
    """
    taken = []
    last: StorageError | None = None
    for each in chosen:
        try:
            taken.append(take(each))
        except StorageError as error:
            if last is not None:
                print_error(str(last), last.hint)
            last = error
    if last is not None:
        if not taken:
            raise last
        print_error(str(last), last.hint)
    return taken


def libraries_with(text: str) -> list[tuple[str, Path | None]]:
    """Find what a name or a path means to ``remove`` and ``update``.

    Returns:
        Names of libraries, each with the one of its several roots that is meant, or None
        for the whole library.

    Raises:
        LibraryNotFoundError: There is none.
    """
    from gptoss_mlx.files import expanded
    from gptoss_mlx.library import catalog

    found: list[tuple[str, Path | None]] = []
    if text in catalog.names() and "/" not in text:
        return [(text, None)]
    given = expanded(text)
    # A folder that is gone has no resolved path.
    paths = {given.absolute(), given.resolve()}
    for name in catalog.names():
        roots: list[Path] = []
        with suppress(StorageError):  # a damaged one is not in the way of the others
            roots = [root.path for root in catalog.roots_of(name)]
        for root in paths.intersection(roots):
            found.append((name, root if len(roots) > 1 else None))
    return found or [(catalog.known(text), None)]


def find_document(text: str, libraries: Sequence[Library]) -> tuple[Library, str]:
    """Find a document by its name, its path, or an end of one that no other has.

    Raises:
        DocumentNotFoundError: There is none, or there are several.
    """
    from gptoss_mlx.errors import DocumentNotFoundError

    named = {
        (library.name, each): library
        for library, names in from_each(libraries, lambda each: (each, each.names()))
        for each in names
    }
    for matches in (
        [key for key in named if key[1] == text],
        _by_path(text, libraries, named),
        [key for key in named if f"/{key[1]}".endswith(f"/{text}")],
        [key for key in named if key[1].casefold().endswith(text.casefold())],
    ):
        if len(matches) == 1 or _is_one_file(matches, named):
            return named[matches[0]], matches[0][1]
        if matches:
            _ambiguous(text, matches)
    for library in libraries:
        # Pages of an archive are not listed.
        with suppress(DocumentNotFoundError):
            library.text(text)
            return library, text
    _unknown(text, sorted({name for _, name in named}))


def _is_one_file(
    matches: Sequence[tuple[str, str]], named: dict[tuple[str, str], Library]
) -> bool:
    """Whether they are the same file, in several libraries."""
    if not 1 < len(matches) <= MAX_SAME:
        return False
    return len({named[key].path_of(key[1]) for key in matches}) == 1


def _by_path(
    text: str, libraries: Sequence[Library], named: dict[tuple[str, str], Library]
) -> list[tuple[str, str]]:
    from gptoss_mlx.files import is_there
    from gptoss_mlx.library import catalog

    if not is_there(text):
        return []

    path = catalog.resolved(text)
    return [
        (library.name, name)
        for library in libraries
        if any(path.is_relative_to(root) for root in library.roots)
        for (in_library, name) in named
        if in_library == library.name
        and name.rsplit("/", 1)[-1].casefold() == nfc(path.name).casefold()
        and library.path_of(name) == path
    ]


def nfc(text: str) -> str:
    """Return a text in the Unicode form of documents' names."""
    import unicodedata

    return unicodedata.normalize("NFC", text)


def _ambiguous(text: str, matches: list[tuple[str, str]]) -> NoReturn:
    from gptoss_mlx.errors import DocumentNotFoundError

    names = sorted({name for _, name in matches})
    if len(names) == 1:
        libraries = " or ".join(f"--in {library}" for library, _ in matches)
        raise DocumentNotFoundError(
            f"{text} is in {len(matches)} libraries.", hint=f"Name one: {libraries}"
        )
    listed = ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
    raise DocumentNotFoundError(
        f"{text} may be one of {len(names)} documents.", hint=f"Name one: {listed}"
    )


def _unknown(text: str, names: list[str]) -> NoReturn:
    from gptoss_mlx.errors import DocumentNotFoundError

    ends = {name.rsplit("/", 1)[-1].casefold(): name for name in reversed(names)}
    wanted = text.rsplit("/", 1)[-1].casefold()
    close = [ends[end] for end in difflib.get_close_matches(wanted, ends, n=MAX_NAMES)]
    close += difflib.get_close_matches(text, names, n=MAX_NAMES)
    close = list(dict.fromkeys(close))[:MAX_NAMES]
    message = f"{text} is not a document of the library."
    if close:
        raise DocumentNotFoundError(message, hint=f"Did you mean {' or '.join(close)}?")
    raise DocumentNotFoundError(message)


def short_path(path: Path) -> str:
    """Return a path as a user would type it: from here, from ~, or from the root."""
    here, home = Path.cwd(), Path.home()
    for base, begin in (
        (here, ""),
        (here.resolve(), ""),
        (home, "~/"),
        (home.resolve(), "~/"),
    ):
        if path.is_relative_to(base) and path != base:
            return f"{begin}{path.relative_to(base)}"
    return str(path)
