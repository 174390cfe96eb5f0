"""A back end for the documents of a library."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Protocol
from unicodedata import normalize
from urllib.parse import unquote

from gptoss_mlx.errors import DocumentNotFoundError, ToolError
from gptoss_mlx.library.index import Hit
from gptoss_mlx.library.text import Text
from gptoss_mlx.tools.browser.backend import VIEW_SOURCE, SearchResult, results_page
from gptoss_mlx.tools.browser.linked_text import linked_lines
from gptoss_mlx.tools.browser.page import Page, SourceLine, in_a_line, plain_line
from gptoss_mlx.tools.browser.summary import summary

__all__ = ["LibraryPages", "Searched"]

MAX_KEPT = 32_000_000
"""Characters of the pages that are kept, besides the last one."""

_FILE = "file:"


class Searched(Protocol):
    """What is used of a ``Library``."""

    @property
    def roots(self) -> Sequence[Path]:
        """Its folders and files."""

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Return the best passages."""

    def text(self, name: str) -> Text:
        """Return a document."""

    def path_of(self, name: str) -> Path:
        """Return where a document lies."""

    def linked(self, name: str, target: str) -> str | None:
        """Return the document that a link leads to."""


class LibraryPages:
    """The documents of a library, as a browser's back end.

    Line n of a page's text is line n of the document. Only the index is read: no name makes
    it open a file.

    Attributes:
        found: What the searches found since it was last emptied, the best first.
    """

    def __init__(self, library: Searched) -> None:
        self._library = library
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._names: dict[str, str] = {}
        self.found: list[Hit] = []

    def search(self, query: str, topn: int) -> Page:
        """Show the best passages, each with the lines around its best one."""
        return results_page(query, self.results(query, topn))

    def results(self, query: str, topn: int) -> list[SearchResult]:
        """Return the best passages as results."""
        hits = self._library.search(query, topn)
        self.found += hits
        return [self._result(hit) for hit in hits]

    def fetch(self, url: str) -> Page:
        """Return a document's page.

        Args:
            url: The document's name, also percent-encoded; the path of its file, also
                with ``file://``; each also after ``view-source:``.

        Raises:
            ToolError: The library has no such document.
        """
        for name in self._possible_names(url.removeprefix(VIEW_SOURCE)):
            page = self._page(name)
            if page is not None:
                return page
        raise ToolError("There is no such document. Use browser.search to find one.")

    def name_of(self, url: str) -> str:
        """Return the name of the document whose page has this URL."""
        return self._names.get(url, unquote(url))

    def shown_lines(self, name: str, text: Text, first: int, last: int) -> list[str]:
        """Return lines of a document's page as they are shown now, with ids from 0.

        Args:
            name: The document's name.
            text: The document.
            first: First line, counted from 1.
            last: Last line.
        """
        linked = partial(self._linked, name)
        return linked_lines(text, linked, first - 1, last)[0]

    def _url(self, name: str) -> str:
        """Return the URL under which the model sees a document."""
        # The browser shows URLs decoded, and without what is not plain.
        url = in_a_line(name).replace("%", "%25")
        while self._names.setdefault(url, name) != name:
            url += "~"
        return url

    def _possible_names(self, url: str) -> Iterator[str]:
        for text in dict.fromkeys((url, unquote(url), normalize("NFC", unquote(url)))):
            for known in (text, text.replace("%", "%25")):
                if known in self._names:
                    yield self._names[known]
            yield text
            yield from self._names_of_path(text)

    def _names_of_path(self, text: str) -> Iterator[str]:
        """Guess the names of a file from its path. Nothing is looked up on the disk."""
        if text.startswith(_FILE):
            text = text.removeprefix(_FILE).removeprefix("//").removeprefix("localhost")
            yield text
        path = PurePosixPath(text)
        if not path.is_absolute():
            return
        for root in map(PurePosixPath, map(str, self._library.roots)):
            if not path.is_relative_to(root):
                continue
            inside = str(path.relative_to(root))
            for label in (root.name, *(f"{root.name}-{n}" for n in range(2, 10))):
                name = label if inside == "." else f"{label}/{inside}"
                if self._lies_at(name, path):
                    yield name

    def _lies_at(self, name: str, path: PurePosixPath) -> bool:
        try:
            return str(self._library.path_of(name)) == str(path)
        except DocumentNotFoundError:
            return False

    def _page(self, name: str) -> Page | None:
        if name in self._pages:
            self._pages.move_to_end(name)
            return self._pages[name]
        try:
            text = self._library.text(name)
        except DocumentNotFoundError:
            return None
        page = self._make_page(name, text)
        self._pages[name] = page
        kept = sum(len(page.text) for page in self._pages.values())
        while kept > MAX_KEPT and len(self._pages) > 1:
            kept -= len(self._pages.popitem(last=False)[1].text)
        return page

    def _make_page(self, name: str, text: Text) -> Page:
        lines, targets = linked_lines(text, partial(self._linked, name))
        title = in_a_line(" ".join(text.title.split()))
        links = tuple(map(self._url, targets))
        return Page(self._url(name), title, "\n".join(lines), links)

    def _linked(self, name: str, target: str) -> str | None:
        linked = self._library.linked(name, target)
        return None if linked == name else linked

    def _result(self, hit: Hit) -> SearchResult:
        under = " › ".join(heading for heading in hit.headings if heading != hit.title)
        lines = hit.text.split("\n")
        shown, first, last = summary(lines, hit.best_line - hit.first_line)
        return SearchResult(
            hit.title,
            self._url(hit.name),
            f"{plain_line(under)}: {shown}" if under else shown,
            SourceLine(hit.best_line + 1),
            (hit.first_line + first + 1, hit.first_line + last + 1),
        )
