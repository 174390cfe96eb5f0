"""A document's lines with the links that lead to other documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache

from gptoss_mlx.library.text import Link, Text
from gptoss_mlx.tools.browser.page import plain_line

__all__ = ["linked_lines"]


def linked_lines(
    text: Text,
    linked: Callable[[str], str | None],
    begin: int = 0,
    end: int | None = None,
) -> tuple[list[str], list[str]]:
    """Make a page's lines: line n of it is line n of the document.

    Args:
        text: The document.
        linked: Returns the name of the document that a target leads to, or None.
        begin: Index of the first line.
        end: Index after the last line. None: to the last.

    Returns:
        The lines, and the name that each link in them leads to, by id.
    """
    leads_to = cache(linked)
    source = text.lines if (begin, end) == (0, None) else text.lines[begin:end]
    by_line: defaultdict[int, list[Link]] = defaultdict(list)
    for link in text.links:
        by_line[link.line].append(link)
    targets: list[str] = []
    lines = [plain_line(line) for line in source]
    for number in sorted(by_line):
        if begin <= number < begin + len(lines):
            line = text.lines[number]
            lines[number - begin] = _linked(line, by_line[number], leads_to, targets)
    return lines, targets


def _linked(
    line: str,
    links: Sequence[Link],
    leads_to: Callable[[str], str | None],
    targets: list[str],
) -> str:
    shown, end = "", 0
    for link in sorted(links, key=lambda link: link.start):
        words = plain_line(link.text or line[link.start : link.end]).replace("†", "‡")
        target = leads_to(link.target) if link.start >= end else None
        if target is None or not words.strip():
            continue
        shown += f"{plain_line(line[end : link.start])}【{len(targets)}†{words}】"
        targets.append(target)
        end = link.end
    return shown + plain_line(line[end:])
