"""Finds the document's lines that a citation of display lines stands for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gptoss_mlx.grounding.words import CJK, has_words, words_of
from gptoss_mlx.library.text import Text
from gptoss_mlx.tools.browser.library_pages import LibraryPages
from gptoss_mlx.tools.browser.page import Origin, Page, plain_line
from gptoss_mlx.tools.browser.tool import View

__all__ = ["CitedLines", "LineFinder", "Unresolved"]

LONG_LINE = 400
"""Characters from which a quote is the cited part of a line, not the line."""

MIN_OVERLAP = 8

CHANGED = "the document has changed since it was read"

_MATCH = re.compile(r"# 【\d+†match at L\d+】")
_IN_A_WORD = re.compile(rf"[^\s{CJK}]{{2}}")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)")
_LINK_MARKS = re.compile(r"【\d+†|(?:†[^†】]*)?】")


@dataclass(frozen=True)
class CitedLines:
    """The lines that a citation stands for.

    Attributes:
        document: The document's name.
        first_line: Counted from 1.
        last_line: Counted from 1.
        text: The document.
        quote: The text that was cited.
        around: The same, of a long line with one more display line on both sides.
        words: What may be quoted, by ``words_of``: the lines as the document has them, as a
            page shows them, and without the markup of links.
    """

    document: str
    first_line: int
    last_line: int
    text: Text
    quote: str
    around: str
    words: tuple[Sequence[str], ...]

    def have(self, quotation: str) -> bool:
        """Whether the words of a quotation are in them."""
        return any(has_words(quotation, words) for words in self.words)

    def is_named(self, quotation: str) -> bool:
        """Whether a quotation is the document's name or title, or a heading over them."""
        names = [self.text.title, *self.text.headings_of(self.first_line - 1)]
        names += [self.document, self.document.rpartition("/")[2]]
        return words_of(quotation) in map(words_of, names)

    def quote_of(self, quotation: str) -> str:
        """Return the cited text, with as much around it as has a quotation."""
        is_in = not quotation or has_words(quotation, words_of(self.quote))
        return self.quote if is_in else self.around


@dataclass(frozen=True)
class Unresolved:
    """A citation that stands for no lines.

    Attributes:
        problem: Why.
        cursor: The cited page.
        ranges: The cited display lines.
        document: The document's name, if the page is of one.
    """

    problem: str
    cursor: int
    ranges: tuple[tuple[int, int], ...] = ()
    document: str | None = None


@dataclass(frozen=True)
class LineFinder:
    """Finds cited lines.

    Attributes:
        pages: What the pages that were shown are made of.
        text_of: Returns the document of a name as it is now; None if it is gone.
    """

    pages: LibraryPages
    text_of: Callable[[str], Text | None]

    def find(
        self, view: View, cursor: int, first: int, last: int
    ) -> CitedLines | Unresolved:
        """Return the document's lines behind display lines of a view.

        Args:
            view: What was shown.
            cursor: Its cursor.
            first: First display line of the citation.
            last: Last display line.
        """
        page, ranges = view.page, ((first, last),)
        document = None if page.is_results else self.pages.name_of(page.url)
        if not view.first <= first <= last < view.end:
            line = first if not view.first <= first < view.end else view.end
            return Unresolved(f"line {line} was not shown", cursor, ranges, document)
        origins = _origins(page, range(first, last + 1))
        urls = {origin.url for origin in origins}
        if len(urls) != 1:
            count = "several documents" if urls else "no document"
            return Unresolved(f"its lines are of {count}", cursor, ranges)
        document = self.pages.name_of(urls.pop())
        begin = min(origin.first for origin in origins)
        end = max(origin.last for origin in origins)
        text = self.text_of(document)
        if text is None or end > len(text.lines):
            return Unresolved(CHANGED, cursor, ranges, document)
        shown = self.pages.shown_lines(document, text, begin, end)
        cited = _Cited(page, first, last, view.first, view.end)
        found = _compared(cited, text.lines[begin - 1 : end], shown, begin)
        if isinstance(found, str):
            return Unresolved(found, cursor, ranges, document)
        begin, end, parts, around, shown = found
        quote = _joined(part.rstrip() for part in parts).strip()
        wide, shown_text = _joined(around).strip(), _joined(shown)
        words = tuple(map(words_of, (wide, shown_text, _LINK.sub(r"\1", wide))))
        return CitedLines(document, begin, end, text, quote, wide, words)


@dataclass(frozen=True)
class _Cited:
    """Display lines that are cited.

    Attributes:
        page: The page.
        first: The first of them.
        last: The last of them.
        view_first: First display line that was shown.
        view_end: The one after the last that was shown.
    """

    page: Page
    first: int
    last: int
    view_first: int
    view_end: int

    def part(self, number: int, more: int = 0) -> str:
        """Return what is cited of a line of the page's text, with whole words.

        Args:
            number: Counted from 1.
            more: Display lines to add on both sides.
        """
        begin, end = _bounds(self.page, number)
        first = max(begin, self.view_first, self.first - more)
        after = min(end, self.view_end, self.last + 1 + more)
        line = "".join(self.page.lines[begin:end])
        start = sum(map(len, self.page.lines[begin:first]))
        stop = start + sum(map(len, self.page.lines[first:after]))
        while start > 0 and _IN_A_WORD.fullmatch(line[start - 1 : start + 1]):
            start -= 1
        while stop < len(line) and _IN_A_WORD.fullmatch(line[stop - 1 : stop + 1]):
            stop += 1
        part = _unlinked(line[start:stop]).strip()
        return f"{'…' * (begin < first)}{part}{'…' * (after < end)}"

    @property
    def lines(self) -> list[int]:
        """The lines of the page's text that they show of documents, counted from 1."""
        first, last = map(self.page.source_line, (self.first, self.last))
        return list(filter(self._is_of_a_document, range(first, last + 1)))

    @property
    def lines_around(self) -> list[int]:
        """The same, with those beside them that show the same line of a document."""
        first, last = map(self.page.source_line, (self.first, self.last))
        before = first - self._goes_on(first, first - 1)
        after = last + self._goes_on(last, last + 1)
        return list(filter(self._is_of_a_document, range(before, after + 1)))

    def _goes_on(self, number: int, beside: int) -> bool:
        """Whether the line beside one was shown, and shows the same line of a document."""
        origins = self.page.origins or ()
        if not 1 <= beside <= len(origins):
            return False
        begin, end = _bounds(self.page, beside)
        if end <= self.view_first or self.view_end <= begin:
            return False
        return _overlap(origins[number - 1], origins[beside - 1])

    def _is_of_a_document(self, number: int) -> bool:
        line = "".join(self.page.lines[slice(*_bounds(self.page, number))])
        return _MATCH.fullmatch(line) is None


def _overlap(one: Origin | None, other: Origin | None) -> bool:
    """Whether two lines of a page show a line of one document."""
    return (
        one is not None
        and other is not None
        and one.url == other.url
        and one.first <= other.last
        and other.first <= one.last
    )


def _origins(page: Page, display_lines: range) -> list[Origin]:
    if page.origins is None:
        lines = [page.source_line(line) for line in (display_lines[0], display_lines[-1])]
        return [Origin(page.url, *lines)]
    found = [page.origins[page.source_line(line) - 1] for line in display_lines]
    return [origin for origin in found if origin is not None]


def _compared(
    cited: _Cited, source: Sequence[str], shown: Sequence[str], begin: int
) -> tuple[int, int, list[str], list[str], list[str]] | str:
    """Compare a document's lines with what was shown of them.

    Returns:
        The first and the last line of those that were cited; of each the part that is
        cited, the same with what is around it, and as it is shown; or what is wrong.
    """
    lines = [plain_line(line) for line in source]
    shown = [_unlinked(line) for line in shown]
    if cited.page.is_results:
        fitting = _fitting(cited, lines, shown)
        if not fitting:
            return CHANGED
        part = slice(fitting[0], fitting[-1] + 1)
        begin, lines, shown = begin + fitting[0], lines[part], shown[part]
        parts = around = lines
        if any(len(line) > LONG_LINE for line in lines):
            texts = [cited.part(number) for number in cited.lines]
            wide = [cited.part(number, more=1) for number in cited.lines_around]
            return begin, begin + len(lines) - 1, texts or wide, wide, wide
    else:
        if any(
            _line(cited.page, number) != _comparable(line)
            for number, line in enumerate(shown, start=begin)
        ):
            return CHANGED
        parts, around = (
            [
                line if len(line) <= LONG_LINE else cited.part(number, more)
                for number, line in enumerate(lines, start=begin)
            ]
            for more in (0, 1)
        )
        shown = [
            line if len(whole) <= LONG_LINE else part
            for line, whole, part in zip(shown, lines, around, strict=True)
        ]
    if not any(line.strip() for line in lines):
        return "these lines are empty"
    return begin, begin + len(lines) - 1, parts, around, shown


def _fitting(cited: _Cited, lines: Sequence[str], shown: Sequence[str]) -> list[int]:
    """Return which lines of a document the cited lines of a results page show."""
    texts = [cited.part(number).strip("…") for number in cited.lines]
    words = _comparable(_joined(texts))
    return [
        i
        for i, pair in enumerate(zip(lines, shown, strict=True))
        if not words or any(_overlaps(_comparable(line), words) for line in pair)
    ]


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _bounds(page: Page, number: int) -> tuple[int, int]:
    """Return the display lines of a line of the text: the first, and the one after."""
    begin = page.display_line(number)
    end = begin + 1
    while end < len(page.lines) and page.source_line(end) == number:
        end += 1
    return begin, end


def _line(page: Page, number: int) -> str:
    begin, end = _bounds(page, number)
    return _comparable("".join(page.lines[begin:end]))


def _comparable(line: str) -> str:
    # A link's marks move what follows a tab.
    return " ".join(_unlinked(line).replace("†", "‡").split())


def _unlinked(line: str) -> str:
    """Remove what makes a link of some words, also where it was cut."""
    return _LINK_MARKS.sub("", line)


def _overlaps(line: str, cited: str) -> bool:
    """Whether a document's line is shown in the cited text, at least in part."""
    if not line:
        return False
    if line in cited or cited in line:
        return True
    return any(
        line.endswith(cited[:n]) or cited.endswith(line[:n])
        for n in range(MIN_OVERLAP, min(len(line), len(cited)))
    )
