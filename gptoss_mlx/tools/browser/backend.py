"""Where a browser's pages come from, and how what a search finds is shown.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/simple_browser/backend.py
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gptoss_mlx.controls import without_controls
from gptoss_mlx.tools.browser.page import Page, in_a_line, plain

__all__ = ["VIEW_SOURCE", "Backend", "SearchResult", "results_page"]

VIEW_SOURCE = "view-source:"
"""Stands before the URL of a page whose source is wanted."""


class Backend(Protocol):
    """Has pages. What it raises as a GptOssError, the model is shown."""

    def search(self, query: str, topn: int) -> Page:
        """Return a page of at most ``topn`` results, as ``results_page`` makes it."""

    def fetch(self, url: str) -> Page:
        """Return the page at ``url``, which may begin with ``view-source:``."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        title: Of the page.
        url: Of the page.
        summary: What it says about the query, in a line.
        line: The display line of that in the page; None for its beginning.
    """

    title: str
    url: str
    summary: str
    line: int | None = None


def results_page(query: str, results: Sequence[SearchResult]) -> Page:
    """Show results as gpt-oss's back ends do: a heading, and a link each."""
    items = [
        f"  * 【{id}†{_link_text(result)}】 {_summary(result)}".rstrip()
        for id, result in enumerate(results)
    ]
    return Page(
        url="",
        title=query,
        text="\n".join(["", "URL: ", "# Search Results", "", *(items or ["No results."])]),
        links=tuple(result.url for result in results),
        passages=tuple(result.line for result in results),
    )


def _link_text(result: SearchResult) -> str:
    """Return ``text†domain``. A file has no domain: its name says where it is."""
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
