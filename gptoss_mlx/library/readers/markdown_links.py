"""Finds the links of a Markdown file: inline ones and those by reference."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from gptoss_mlx.library.readers.linked_line import MAX_LINKS, can_be_followed
from gptoss_mlx.library.readers.source import one_line
from gptoss_mlx.library.text import Link

__all__ = ["find_links"]

_BRACKETS = re.compile(r"!?\[|\]")
_TARGET = re.compile(
    r"\([ \t]*(?:<([^<>]*)>|((?:[^\s()<]|\([^\s()]*\))(?:[^\s()]|\([^\s()]*\))*)?)"
    r"(?:[ \t]+(?:\"[^\"]*\"|'[^']*'|\([^()]*\)))?[ \t]*\)"
)
_LABEL = re.compile(r"\[([^\[\]]*)\]")
_DEFINITION = re.compile(r" {0,3}\[(?!\^)([^\[\]]+)\]:[ \t]*(?:<([^<>]*)>|([^\s<]\S*))")
_FENCE = re.compile(r"[ \t]*(?:(?:[-+*>]|\d{1,9}[.)])[ \t]+)*(`{3,}(?=[^`]*$)|~{3,})")
_ITEM = re.compile(r" {0,3}(?:[-+*]|\d{1,9}[.)])(?:[ \t]|$)")
_COMMENT = re.compile(r" {0,3}<!--")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_MARKUP = re.compile(
    r"!\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])|(?<!\\)[*`]+|(?<![\w\\])_+|_+(?!\w)"
)

# A longer line is data, and would take long.
_MAX_CHARACTERS = 20_000


def find_links(lines: Sequence[str], start: int = 0) -> tuple[Link, ...]:
    """Find the links that stand in no code and no HTML comment, and end on their line.

    Args:
        lines: Those of the file.
        start: Index of the line to begin with.

    Returns:
        Links whose columns are those of the whole markup.
    """
    definitions: dict[str, str] = {}
    shown: list[tuple[int, str]] = []
    for index, line in _outside_code(lines, start):
        if found := _DEFINITION.match(line):
            target = found[3] if found[2] is None else found[2]
            definitions.setdefault(_label(found[1]), target)
        else:
            shown.append((index, line))
    links = (link for index, line in shown for link in _links(index, line, definitions))
    return tuple(islice(links, MAX_LINKS))


def _outside_code(lines: Sequence[str], start: int) -> Iterator[tuple[int, str]]:
    """Yield the lines that may have a link."""
    fence = ""  # of the code block that a line stands in
    comment = in_list = False
    blank = True  # whether the line before is empty
    for index in range(start, len(lines)):
        line = lines[index]
        if fence:
            end = line.strip("> \t")
            if len(end) >= len(fence) and end == fence[0] * len(end):
                fence = ""
        elif comment or _COMMENT.match(line):
            comment = "-->" not in line
        elif found := _FENCE.match(line):
            fence = found[1]
        elif not line.strip():
            blank = True
            continue
        else:
            in_list = bool(_ITEM.match(line)) or (
                in_list and (not blank or line[0] in " \t")
            )
            is_code = blank and not in_list and line.startswith(("    ", "\t"))
            if is_code:
                continue  # the next line is code too, though no empty one precedes it
            if "[" in line and len(line) <= _MAX_CHARACTERS:
                yield index, line
        blank = False


def _links(index: int, line: str, definitions: dict[str, str]) -> Iterator[Link]:
    masked = _masked(line)
    opened: list[tuple[int, int]] = []  # where each bracket that is open begins and ends
    after = 0
    for bracket in _BRACKETS.finditer(masked):
        if bracket.start() < after:
            continue
        if bracket[0] != "]":
            opened.append(bracket.span())
            continue
        if not opened:
            continue
        start, inner = opened.pop()
        found = _target(line, masked, inner, bracket.start(), definitions)
        if found is None:
            continue
        after, target = found
        if masked[start] == "!":
            continue
        # There are no links in links, but there are links in images.
        opened = [span for span in opened if masked[span[0]] == "!"]
        between = line[inner : bracket.start()]
        words = _words(between) or one_line(between)
        target = html.unescape(_ESCAPE.sub(r"\1", target)).strip()
        if words and can_be_followed(target):
            yield Link(index, start, after, target, words)


def _target(
    line: str, masked: str, start: int, end: int, definitions: dict[str, str]
) -> tuple[int, str] | None:
    """Return where a link of the words between two columns ends, and its target."""
    if found := _TARGET.match(masked, end + 1):
        place = found.span(2 if found[1] is None else 1)
        return found.end(), line[slice(*place)] if place[0] >= 0 else ""
    after = end + 1
    label = line[start:end]
    if found := _LABEL.match(masked, after):
        after = found.end()
        label = line[slice(*found.span(1))] or label
    if "[" in label or _label(label) not in definitions:
        return None
    return after, definitions[_label(label)]


def _label(text: str) -> str:
    return one_line(text).casefold()


def _words(text: str) -> str:
    text = _ESCAPE.sub(r"\1", _MARKUP.sub(r"\1", text))
    return one_line(html.unescape(text))


def _masked(line: str) -> str:
    """Replace escaped characters and code, so that nothing in them is markup."""
    line = _ESCAPE.sub(lambda found: "x" * 2 if found[1] != "`" else found[0], line)
    runs = list(re.finditer("`+", line)) if "`" in line else []
    ends: dict[int, list[int]] = {}
    for number, run in reversed(list(enumerate(runs))):
        ends.setdefault(len(run[0]), []).append(number)
    pieces: list[str] = []
    done = after = 0
    for number, run in enumerate(runs):
        # Of a run that begins with an escaped backtick, the others may open code.
        start = run.start() + (line[run.start() - 1 : run.start()] == "\\")
        if number < after or start == run.end():
            continue
        same = ends.get(run.end() - start, [])
        while same and same[-1] <= number:
            same.pop()
        if same:
            end = runs[same[-1]].end()
            pieces += [line[done:start], "x" * (end - start)]
            done, after = end, same[-1] + 1
    return "".join([*pieces, line[done:]])
