"""The source of a browser's pages, and the page of search results.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/simple_browser/backend.py
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gptoss_mlx.controls import without_controls
from gptoss_mlx.tools.browser.page import Origin, Page, SourceLine, in_a_line, plain

__all__ = ["VIEW_SOURCE", "Backend", "SearchResult", "results_page"]

VIEW_SOURCE = "view-source:"
"""The prefix of a URL whose page's source is requested."""


class Backend(Protocol):
    """A source of pages. The model is shown the message of a GptOssError it raises."""

    def search(self, query: str, topn: int) -> Page:
        """Return a page of at most ``topn`` results, as ``results_page`` makes it."""

    def fetch(self, url: str) -> Page:
        """Return the page at ``url``, which may begin with ``view-source:``."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One result of a search.

    Attributes:
        title: Title of the page.
        url: URL of the page.
        summary: One line of the page that fits the query.
        line: The display line of the summary, or the line of the page's text; None for the
            page's beginning.
        lines: The first and the last line of the page's text that the summary shows,
            counted from 1; None if that is unknown.
    """

    title: str
    url: str
    summary: str
    line: int | SourceLine | None = None
    lines: tuple[int, int] | None = None


def results_page(query: str, results: Sequence[SearchResult]) -> Page:
    """Make a page of results like gpt-oss's back ends: a heading, and a link for each."""
    items = [
        f"  * 【{id}†{_link_text(result)}】 {_summary(result)}".rstrip()
        for id, result in enumerate(results)
    ]
    heading = ["", "URL: ", "# Search Results", ""]
    shown = [
        None if result.lines is None else Origin(result.url, *result.lines)
        for result in results
    ]
    return Page(
        url="",
        title=query,
        text="\n".join([*heading, *(items or ["No results."])]),
        links=tuple(result.url for result in results),
        passages=tuple(result.line for result in results),
        origins=(*[None] * len(heading), *(shown or [None])),
    )


def _link_text(result: SearchResult) -> str:
    """Return ``text†domain``. For a file, which has no domain, the name is shown."""
    title, domain = (
        in_a_line(" ".join(text.split())).replace("†", "‡")
        for text in (result.title, result.url)
    )
    if "://" in domain:
        # Not urlsplit, which raises at an address that is none.
        domain = re.split("[/?#]", domain.partition("://")[2], maxsplit=1)[0]
    return title if domain in ("", title) else f"{title}†{domain}"


def _summary(result: SearchResult) -> str:
    return " ".join(without_controls(plain(result.summary)).split())
