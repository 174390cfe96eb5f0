"""Checks what an answer cites: were the lines shown, and do they have the quoted words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.errors import GptOssError
from gptoss_mlx.grounding.cited_lines import CitedLines, LineFinder, Unresolved
from gptoss_mlx.grounding.markers import Marker
from gptoss_mlx.library.text import Text
from gptoss_mlx.tools.browser.library_pages import LibraryPages, Searched
from gptoss_mlx.tools.browser.tool import Browser

__all__ = ["Citation", "CitationChecker"]

NOT_THERE = "the quoted words are not in these lines"


@dataclass(frozen=True, slots=True)
class Citation:
    """A citation in an answer.

    Attributes:
        number: In the answer: ``[1]`` if it is verified, otherwise ``[1?]``.
        document: The document's name. None: the citation leads to none.
        path: Where the document lies.
        first_line: Its first line in the document, counted from 1.
        last_line: Its last line.
        page: Page of its first line, from 1; None without pages.
        headings: What it stands under, highest level first.
        quote: The text of the cited lines; of a long line, the part that was cited.
        problem: What is wrong with it; None if it is verified.
        quoted: What the answer quotes of these lines first; empty if nothing.
    """

    number: int
    document: str | None = None
    path: Path | None = None
    first_line: int | None = None
    last_line: int | None = None
    page: int | None = None
    headings: tuple[str, ...] = ()
    quote: str = ""
    problem: str | None = None
    quoted: str = ""

    @property
    def verified(self) -> bool:
        """Whether its lines were shown in this turn, and have the quoted words."""
        return self.problem is None

    @property
    def mark(self) -> str:
        """How the answer shows it."""
        return f"[{self.number}]" if self.verified else f"[{self.number}?]"


class CitationChecker:
    """Checks the citations of one turn, and numbers them.

    Attributes:
        citations: All so far, by number.
    """

    def __init__(self, library: Searched, pages: LibraryPages, browser: Browser) -> None:
        """Begin a turn: only pages that are opened from now on can be cited."""
        self.citations: list[Citation] = []
        self._library = library
        self._lines = LineFinder(pages, self._text)
        self._browser = browser
        self._first_cursor = self._seen = len(browser.views)
        self._withheld: set[int] = set()
        self._texts: dict[str, Text | None] = {}
        self._by_place: dict[object, Citation] = {}

    def note_result(self, *, shown: bool) -> None:
        """Note that a call was answered, and whether the model was shown the page."""
        opened = len(self._browser.views)
        if not shown:
            self._withheld.update(range(self._seen, opened))
        self._seen = opened

    def is_cursor(self, cursor: int) -> bool:
        """Whether a page was opened under this number in this turn."""
        return (
            self._first_cursor <= cursor < len(self._browser.views)
            and cursor not in self._withheld
        )

    def check(
        self, markers: Sequence[Marker], quotations: Sequence[str]
    ) -> list[list[Citation]]:
        """Check markers that stand in a row.

        Args:
            markers: The markers.
            quotations: What their sentence quotes. Each must be in the lines of one of
                them; if there are any, a marker holds only if its lines have one.

        Returns:
            The citations of each marker: one for each range of lines.
        """
        found = [self._resolve(marker) for marker in markers]
        cited = [lines for row in found for lines in row if isinstance(lines, CitedLines)]
        # The name of what is cited is often put in quotation marks too.
        words = [each for each in quotations if not any(c.is_named(each) for c in cited)]
        missing = not all(any(lines.have(each) for lines in cited) for each in words)
        return [
            [self._number(lines, words, missing=missing) for lines in row] for row in found
        ]

    def _resolve(self, marker: Marker) -> list[CitedLines | Unresolved]:
        if not self.is_cursor(marker.cursor):
            problem = f"cursor {marker.cursor} was not opened in this turn"
            return [Unresolved(problem, marker.cursor, marker.ranges)]
        view = self._browser.views[marker.cursor]
        if not marker.ranges:
            return [Unresolved("it names no lines", marker.cursor)]
        return [
            self._lines.find(view, marker.cursor, first, last)
            for first, last in marker.ranges
        ]

    def _text(self, name: str) -> Text | None:
        """Return a document as it is now, read once a turn; None if it is gone."""
        if name not in self._texts:
            try:
                self._texts[name] = self._library.text(name)
            except GptOssError:
                self._texts[name] = None
        return self._texts[name]

    def _number(
        self, lines: CitedLines | Unresolved, quotations: Sequence[str], *, missing: bool
    ) -> Citation:
        quoted = ""
        if isinstance(lines, CitedLines):
            quoted = next(filter(lines.have, quotations), "")
            is_without = missing or bool(quotations and not quoted)
            problem = NOT_THERE if is_without else None
            place: object = (lines.document, lines.first_line, lines.last_line, problem)
        else:
            place = lines
        if place in self._by_place:
            return self._by_place[place]
        number = len(self.citations) + 1
        if isinstance(lines, CitedLines):
            citation = Citation(
                number,
                lines.document,
                self._library.path_of(lines.document),
                lines.first_line,
                lines.last_line,
                lines.text.page_of(lines.first_line - 1),
                lines.text.headings_of(lines.first_line - 1),
                lines.quote_of(quoted),
                problem,
                quoted,
            )
        else:
            citation = Citation(number, lines.document, problem=lines.problem)
        self._by_place[place] = citation
        self.citations.append(citation)
        return citation
