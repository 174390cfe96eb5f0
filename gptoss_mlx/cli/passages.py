"""Prints the lines of documents: beside a label, with the words of a query in bold."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from gptoss_mlx.cli.output import columns_of, print_text
from gptoss_mlx.controls import without_controls

if TYPE_CHECKING:
    from gptoss_mlx.library.index import Hit

__all__ = ["QueryWords", "best_lines", "print_beside"]

# Of a paragraph, which is one line in many documents.
MAX_CHARACTERS = 240
MAX_LINES = 3

Span = tuple[int, int]


class QueryWords:
    """Finds the words of a query in a text, in any of their forms."""

    def __init__(self, query: str) -> None:
        from gptoss_mlx.library.stop_words import STOP_WORDS
        from gptoss_mlx.library.words import analyzer, language_of

        # Few words tell little of a language, so each is looked for in two.
        analyzers = [analyzer(name) for name in dict.fromkeys(("en", language_of(query)))]
        words = query.split()
        telling = [
            w for w in words if not any(w.casefold() in s for s in STOP_WORDS.values())
        ]
        self._analyzers = analyzers
        self._terms = {
            term
            for each in analyzers
            for terms in each.terms(" ".join(telling or words))
            for term in terms.split()
        }
        self._long = [term for term in self._terms if len(term) > 3]
        self._known: dict[str, bool] = {}

    def spans(self, line: str) -> list[Span]:
        """Return where they are in a line, in order."""
        from gptoss_mlx.library.words import TOKEN, is_cjk

        found: list[Span] = []
        for token in TOKEN.finditer(line):
            text = token[0]
            if is_cjk(text):
                for place in range(max(len(text) - 1, 1)):
                    if text[place : place + 2] in self._terms:
                        begin = token.start() + place
                        found.append((begin, begin + len(text[place : place + 2])))
            elif self._has(text):
                found.append(token.span())
        return _joined(found)

    def _has(self, word: str) -> bool:
        # A long line repeats its words.
        if (known := self._known.get(word)) is None:
            known = self._known[word] = self._look_for(word)
        return known

    def _look_for(self, word: str) -> bool:
        for each in self._analyzers:
            for terms in each.split(word):
                of_word = f"{terms.words} {terms.parts}".split()
                if not self._terms.isdisjoint(of_word):
                    return True
                # The parts of a compound: "Heizung" in "Heizungskosten".
                if any(part in term for term in of_word for part in self._long):
                    return True
        return False


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for begin, end in spans:
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def best_lines(hit: Hit, words: QueryWords) -> list[tuple[int, str]]:
    """Return the lines of a passage that answer a query best, cut if they are long.

    Returns:
        Each line's index in the document, and its text, in order.
    """
    lines = hit.text.split("\n")
    best = hit.best_line - hit.first_line
    counts = {
        index: len(words.spans(line)) for index, line in enumerate(lines) if line.strip()
    }
    others = [index for index, count in counts.items() if count and index != best]
    others.sort(key=lambda index: (-counts[index], abs(index - best)))
    chosen = sorted([best, *others[: MAX_LINES - 1]])
    return [(hit.first_line + index, _cut(_clean(lines[index]), words)) for index in chosen]


def _clean(line: str) -> str:
    return without_controls(line).expandtabs(4)


def _cut(line: str, words: QueryWords) -> str:
    """Cut a long line to what is around most words of the query."""
    line = " ".join(line.split()) if len(line) > MAX_CHARACTERS else line
    if len(line) <= MAX_CHARACTERS:
        return line
    begin = _fullest(words.spans(line))
    begin = line.rfind(" ", 0, begin) + 1 if begin else 0
    end = begin + MAX_CHARACTERS
    part = line[begin:end]
    if end < len(line):
        part = f"{part[: part.rfind(' ') if ' ' in part else None]} …"
    return f"… {part}" if begin else part


def _fullest(spans: Sequence[Span]) -> int:
    """Return where a part of MAX_CHARACTERS with the most spans begins.

    It takes one pass: a line of a program's file may have 100,000 spans.
    """
    best, most = 0, 0
    first = past = 0
    for begin, _ in spans:
        place = max(0, begin - MAX_CHARACTERS // 4)
        while spans[first][0] < place:
            first += 1
        while past < len(spans) and spans[past][1] <= place + MAX_CHARACTERS:
            past += 1
        if past - first > most:
            best, most = place, past - first
    return best


def print_beside(rows: Iterable[tuple[str, str]], words: QueryWords | None = None) -> None:
    """Print lines, each beside a label such as its number.

    On a terminal what is long continues below itself, and words of the query are bold;
    elsewhere each line is printed whole.

    Args:
        rows: Labels, without invisible characters, and lines.
        words: What is bold.
    """
    if not sys.stdout.isatty():
        print_text("\n".join(f"{label}{_clean(line)}".rstrip() for label, line in rows))
        return
    from rich.console import Console
    from rich.text import Text

    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    width = columns_of(sys.stdout)
    console = Console(
        width=width,
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )
    for label, line in rows:
        text = Text(_clean(line))
        for begin, end in words.spans(text.plain) if words is not None else ():
            text.stylize("bold", begin, end)
        wrapped = text.wrap(console, max(width - len(label), 10)) if text else [Text()]
        for number, part in enumerate(wrapped):
            part.rstrip()
            beside = label if number == 0 else " " * len(label)
            console.print(Text.assemble(beside, part) if part else beside.rstrip())
