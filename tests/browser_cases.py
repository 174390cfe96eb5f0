"""Pages and calls for the browser, which gpt-oss's own browser tool answered too.

``tests/parity/make_browser_golden.py`` made the golden file: the texts of the cases that
are written here, and the digests of those that a seed makes.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.tools.browser.backend import SearchResult, results_page
from gptoss_mlx.tools.browser.page import Page
from gptoss_mlx.tools.browser.tool import Browser

__all__ = [
    "CASES",
    "GOLDEN",
    "SEEDS",
    "WORDS",
    "Call",
    "Case",
    "Dice",
    "Table",
    "answers",
    "digest",
    "random_case",
]

GOLDEN = Path(__file__).parent / "data" / "golden" / "browser.json"
SEEDS = range(400)

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A conversation with the browser.

    Attributes:
        pages: What can be opened.
        calls: The function's name and its arguments, in order.
        found: What every search finds.
        view_tokens: What is shown at a time.
    """

    pages: tuple[Page, ...]
    calls: tuple[Call, ...]
    found: tuple[SearchResult, ...] = ()
    view_tokens: int = 1_024


class Table:
    """A back end that has the pages of a case."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._pages = {page.url: page for page in case.pages}

    def search(self, query: str, topn: int) -> Page:
        """Find what is always found."""
        return results_page(query, self._case.found)

    def fetch(self, url: str) -> Page:
        """Look up a page."""
        url = url.removeprefix("view-source:")
        if url not in self._pages:
            raise ToolError(f"no page {url}")
        return self._pages[url]


def answers(case: Case) -> list[str]:
    """What our browser answers to each call; an error is its message."""
    browser = Browser(Table(case), view_tokens=case.view_tokens)
    texts = []
    for name, arguments in case.calls:
        call = Message("assistant", json.dumps(arguments), recipient=f"browser.{name}")
        try:
            texts.append(browser.process(call))
        except ToolError as error:
            texts.append(str(error))
    return texts


def digest(texts: Sequence[str]) -> str:
    """A short name for many texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _page(url: str, *lines: str, links: tuple[str, ...] = ()) -> Page:
    return Page(url, f"Title of {url}", "\n".join(lines), links)


def _everything(page: Page, pattern: str) -> tuple[Call, ...]:
    """Open a page, scroll through it, and find something in it."""
    return (
        ("open", {"id": page.url}),
        ("open", {"loc": 5}),
        ("open", {"loc": 0, "num_lines": 3}),
        ("open", {"cursor": 0, "loc": 12, "num_lines": 2}),
        ("find", {"pattern": pattern, "cursor": 0}),
        ("open", {"id": 0}),
        ("open", {"id": 1, "cursor": 4}),
    )


_LONG = (
    "It was agreed that the heating is serviced each May, and that well-known rules hold. "
)
_PROSE = _page(
    "notes/prose.md", "# Prose", "", _LONG * 30, "", "\tIndented\tby tabs.", "End."
)
_CJK = _page(
    "笔记/暖气.md", "暖气", "房东每年五月检修暖气并支付费用。" * 40, "", "終わり。", "끝."
)
_LINE = _page("one.txt", "A single line.")
_WORD = _page("word.txt", "x" * 500 + "-" + "y" * 200 + "--" * 60 + "z" * 90)
_EMPTY = _page("empty.txt", "")
_EMOJI = _page("emoji.txt", *["👩‍👩‍👧 e\u0301 \u00a0\u2028 \x0b \r x"] * 60)
_LINKS = _page(
    "https://example.com/a b%20c",
    "See 【0†the agreement】 and 【1†a garden of roses†example.org】,",
    "or 【2†the heating, which the landlord services each May without delay】 and more",
    "heating.",
    links=("one.txt", "https://example.org/", "notes/prose.md"),
)
_LONG_LINE = _page("line.txt", _LONG * 2_000)
_CJK_LINE = _page("行.txt", "房东每年五月检修暖气。" * 4_000)
_LINKS_IN_LINES = _page(
    "links.md",
    f"{_LONG}See 【0†the agreement on heating and the garden】, {_LONG * 3}【1†end】",
    "暖房" * 35 + "【1†暖房の契約についての長い名前のリンク】" + "契約" * 60,
    "x" * 78 + "【2†y】【0†z†example.org】" + "\t【1†after a tab】",
    *(f"{number}. 【{number % 3}†page {number}】 -- {_LONG}" for number in range(40)),
    links=("one.txt", "笔记/暖气.md", "https://example.org/"),
)
_HUGE = _page("huge.txt", *(f"line {n} of many, {n * n % 97}" for n in range(50_000)))

_FOUND = (
    SearchResult("Prose", "notes/prose.md", "the heating is serviced", 12),
    SearchResult("One", "one.txt", "A single line."),
    SearchResult("Gone", "https://example.com/gone", "Not there any more.", 3),
    SearchResult("Huge", "huge.txt", "line 3 of many", 3),
)
_PAGES = (
    _PROSE, _CJK, _LINE, _WORD, _EMPTY, _EMOJI, _LINKS, _HUGE, _LONG_LINE, _CJK_LINE,
    _LINKS_IN_LINES,
)  # fmt: skip

CASES: Mapping[str, Case] = {
    "prose": Case(_PAGES, _everything(_PROSE, "HEATING")),
    "cjk": Case(_PAGES, _everything(_CJK, "暖气")),
    "one line": Case(_PAGES, _everything(_LINE, "single")),
    "one word": Case(_PAGES, _everything(_WORD, "xyz")),
    "empty": Case(_PAGES, _everything(_EMPTY, "")),
    "emoji": Case(_PAGES, _everything(_EMOJI, "\u00c9")),
    "links": Case(_PAGES, _everything(_LINKS, "heating")),
    "links in long lines": Case(_PAGES, _everything(_LINKS_IN_LINES, "the garden")),
    "one long line": Case(
        _PAGES,
        (
            ("open", {"id": "line.txt"}),
            ("open", {"loc": 2_000}),
            ("find", {"pattern": "WELL-KNOWN RULES"}),
            ("open", {"id": 49}),
        ),
    ),
    "one line of Chinese": Case(
        _PAGES,
        (
            ("open", {"id": "行.txt"}),
            ("open", {"loc": 500}),
            ("find", {"pattern": "检修暖气"}),
            ("open", {"id": 7}),
        ),
    ),
    "50,000 lines": Case(
        _PAGES,
        (
            ("open", {"id": "huge.txt"}),
            ("open", {"loc": 49_990}),
            ("open", {"loc": 50_000}),
            ("find", {"pattern": "Line 4999"}),
            ("open", {"id": 3}),
            ("find", {"pattern": "many", "cursor": 1}),
        ),
    ),
    "search": Case(
        _PAGES,
        (
            ("search", {"query": "heating", "topn": 20}),
            ("open", {"id": 0}),
            ("open", {"id": 1, "cursor": 0}),
            ("open", {"id": 2, "cursor": 0}),
            ("open", {"id": 3, "cursor": 0}),
            ("find", {"pattern": "x", "cursor": 0}),
            ("open", {"cursor": 0, "loc": 4}),
            ("search", {"query": "【†】 a\nb", "source": "web"}),
        ),
        _FOUND,
    ),
    "nothing found": Case(_PAGES, (("search", {"query": "heating"}), ("open", {"id": 0}))),
    "errors": Case(
        _PAGES,
        (
            ("open", {}),
            ("find", {"pattern": "x"}),
            ("open", {"id": "nowhere" * 300}),
            ("open", {"id": "one.txt"}),
            ("open", {"id": 7}),
            ("open", {"cursor": 9}),
            ("open", {"cursor": -2}),
            ("open", {"loc": 1}),
            ("find", {"pattern": "zebra"}),
            ("find", {"pattern": "line"}),
            ("open", {"id": "one.txt", "view_source": True}),
            ("open", {"view_source": True, "cursor": 0}),
        ),
    ),
}


class Dice:
    """Random choices that every version of Python makes alike."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, end: int) -> int:
        """A number from 0 on."""
        return int(self._random() * end)

    def one(self, items: Sequence[Any]) -> Any:
        """One of several."""
        return items[self.below(len(items))]


WORDS = (
    *("heating", "May", "a", "well-known", "e.g.,", "--", "x--y", "(1-2)", "-", "İstanbul"),
    *(
        "暖气检修",
        "ヒーター",
        "난방",
        "👩‍👩‍👧",
        "e\u0301",
        "\u00df",
        "https://a-b.example/c-d?e=f",
    ),
    *(
        "x" * 95,
        "0-" * 60,
        "-" * 90,
        "漢" * 170,
        "\t",
        "  ",
        "\u00a0",
        "\u2028",
        "\r",
        "\x0c",
    ),
)


def random_case(seed: int) -> Case:
    """Make pages of all sorts of words, and calls of which some are mistaken."""
    dice = Dice(seed)
    urls = [f"{dice.one(('a', 'https://example.com/', '漢/'))}{n}" for n in range(4)]
    pages = []
    for url in urls:
        lines = []
        for _ in range(dice.one((1, 3, 30, 120))):
            words = [dice.one(WORDS) for _ in range(dice.one((0, 1, 6, 25)))]
            if dice.below(4) == 0:
                domain = dice.one(("", "†example.com"))
                words.append(f" 【{dice.below(5)}†{dice.one(WORDS[:5])} link{domain}】")
            lines.append(dice.one((" ", " ", "")).join(words[:-1]) + " ".join(words[-1:]))
        pages.append(_page(url, *lines, links=tuple(urls[: dice.below(5)])))
    found = tuple(
        SearchResult("x", url, "words", dice.one((None, 0, 3, 5, 6)))
        for url in urls[: dice.below(5)]
    )
    calls: list[Call] = [("open", {"id": dice.one(urls)})]
    for _ in range(12):
        arguments: dict[str, Any] = {}
        match dice.below(8):
            case 0 if not any(name == "search" for name, _ in calls):
                calls.append(("search", {"query": dice.one(WORDS)}))
                continue
            case 1 | 2:
                arguments["pattern"] = dice.one((*WORDS, "ea", "a", "link"))
            case 3:
                arguments["id"] = dice.one((*urls, "nowhere"))
            case _:
                arguments["id"] = dice.below(7) - 1
        if dice.below(2):
            arguments["cursor"] = dice.below(9) - 2
        if "pattern" in arguments:
            calls.append(("find", arguments))
            continue
        if dice.below(2):
            arguments["loc"] = dice.one((-1, 0, 1, 5, 30, 100))
        if dice.below(3) == 0:
            arguments["num_lines"] = dice.one((-1, 0, 1, 7))
        calls.append(("open", arguments))
    return Case(tuple(pages), tuple(calls), found, dice.one((40, 200, 1_024)))
