"""Documents of a library, and calls, which gpt-oss's own browser tool answered too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from browser_cases import WORDS, Call, Case, Dice

from gptoss_mlx.errors import DocumentNotFoundError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.library.index import Hit
from gptoss_mlx.library.text import Link, Text
from gptoss_mlx.tools.browser.library_pages import LibraryPages
from gptoss_mlx.tools.browser.page import SourceLine
from gptoss_mlx.tools.browser.tool import Browser

__all__ = ["LIBRARY_SEEDS", "LibraryCase", "library_answers", "library_case"]

LIBRARY_SEEDS = range(100)
HUGE_SEED = 0
"""The seed whose last document has 50,000 lines."""


@dataclass(frozen=True)
class Shelf:
    """A library of texts in memory, whose searches find the same passages."""

    texts: Mapping[str, Text]
    hits: tuple[Hit, ...]
    roots = (Path("/docs"),)

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Find what is always found."""
        return list(self.hits[:limit])

    def text(self, name: str) -> Text:
        """Return a document."""
        if name not in self.texts:
            raise DocumentNotFoundError(f"{name}: is not there.")
        return self.texts[name]

    def path_of(self, name: str) -> Path:
        """Return where it would lie."""
        return Path("/") / name

    def linked(self, name: str, target: str) -> str | None:
        """Follow a link."""
        return target if target in self.texts else None


@dataclass(frozen=True)
class LibraryCase:
    """Documents and calls.

    Attributes:
        shelf: The documents.
        calls: The function's name and its arguments, in order.
        view_tokens: What is shown at a time.
    """

    shelf: Shelf
    calls: tuple[Call, ...]
    view_tokens: int

    def pages(self) -> Case:
        """The same as pages, for a browser that knows no library."""
        made = LibraryPages(self.shelf)
        pages = {name: made.fetch(name) for name in self.shelf.texts}
        found = []
        for result in made.results("", 20):
            assert isinstance(result.line, SourceLine)
            line = pages[result.url].display_line(result.line.number)
            found.append(replace(result, line=line))
        return Case(tuple(pages.values()), self.calls, tuple(found), self.view_tokens)


def library_answers(case: LibraryCase) -> list[str]:
    """What our browser answers to each call, with the library as its back end."""
    browser = Browser(LibraryPages(case.shelf), view_tokens=case.view_tokens)
    texts = []
    for name, arguments in case.calls:
        call = Message("assistant", json.dumps(arguments), recipient=f"browser.{name}")
        try:
            texts.append(browser.process(call))
        except Exception as error:
            texts.append(str(error))
    return texts


def library_case(seed: int) -> LibraryCase:
    """Make documents of all sorts of words and links, and calls."""
    dice = Dice(seed)
    names = [f"docs/{dice.one(('a', 'über', '漢字', 'x y'))}{n}.md" for n in range(4)]
    texts = {name: _text(dice, name, names) for name in names}
    if seed == HUGE_SEED:
        lines = tuple(f"line {n} of many, {n * n % 97}" for n in range(50_000))
        texts[names[-1]] = Text("Huge", lines)
    hits = tuple(_hit(dice, name, texts[name]) for name in names[: dice.below(5)])
    calls: list[Call] = [("search", {"query": dice.one(WORDS)})]
    calls += [("open", {"id": dice.one(names)})]
    for _ in range(12):
        arguments: dict[str, Any] = {}
        if dice.below(3) == 0:
            arguments["pattern"] = dice.one((*WORDS, "ea", "a", "link"))
        elif dice.below(2):
            arguments["id"] = dice.one(names)
        else:
            arguments["id"] = dice.below(5) - 1
        if dice.below(2):
            arguments["cursor"] = dice.below(6)
        if "pattern" in arguments:
            calls.append(("find", arguments))
            continue
        if dice.below(2):
            arguments["loc"] = dice.one((-1, 0, 1, 5, 30, 100))
        if dice.below(3) == 0:
            arguments["num_lines"] = dice.one((-1, 1, 7))
        calls.append(("open", arguments))
    return LibraryCase(Shelf(texts, hits), tuple(calls), dice.one((40, 200, 1_024)))


def _text(dice: Dice, name: str, names: list[str]) -> Text:
    lines = []
    links = []
    for number in range(dice.one((1, 3, 30, 120))):
        line = ""
        for _ in range(dice.one((0, 1, 6, 25))):
            word = dice.one(WORDS)
            if dice.below(8) == 0:
                target = dice.one((*names, "https://example.com/", "#part"))
                links.append(Link(number, len(line), len(line) + len(word), target))
            line += word + dice.one((" ", " ", ""))
        lines.append(line)
    return Text(f"Title of {name}", tuple(lines), links=tuple(links))


def _hit(dice: Dice, name: str, text: Text) -> Hit:
    first = dice.below(len(text.lines))
    last = min(first + dice.below(12), len(text.lines) - 1)
    best = first + dice.below(last - first + 1)
    passage = "\n".join(text.lines[first : last + 1])
    return Hit(name, text.title, first, last, (), None, 1.0, best, passage)
