"""Reads Markdown: its own lines, with headings and links.

markdown-it-py parses 1 MB/s, which is too slow for a library of thousands of files; the
tests compare the headings and links with its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gptoss_mlx.library.readers.markdown_links import find_links
from gptoss_mlx.library.readers.plain import read_lines
from gptoss_mlx.library.readers.source import Source
from gptoss_mlx.library.text import Heading, Text

__all__ = ["find_headings", "read_markdown"]

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
# What Pandoc, Kramdown and Docusaurus give to a heading.
_ATTRIBUTES = re.compile(r"[ \t]*\{:?[ \t]*(?:[#.][^{}]*|-)\}[ \t]*$")
_CLOSING = re.compile(r"(?:^|[ \t])#+[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_COMMENT = re.compile(r" {0,3}<!--")
_OTHER_BLOCK = re.compile(
    r" {0,3}(?:>|[-+*](?:[ \t]|$)|\d{1,9}[.)](?:[ \t]|$)|<[a-zA-Z!/?])"
)
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|(?:-[ \t]*){3,})$")
_MARKUP = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\)|[*`]+|(?<!\w)_+|_+(?!\w)")
_FRONT_MATTER_LINES = 200


def read_markdown(source: Source) -> Text:
    """Read a Markdown file.

    Raises:
        UnreadableDocumentError: It is binary.
    """
    lines = read_lines(source)
    start, title = _front_matter(lines)
    headings = find_headings(lines, start)
    if not title:
        title = next((heading.text for heading in headings if heading.level == 1), "")
    links = find_links(lines, start)
    return Text(title or source.path.name, lines, tuple(headings), links=links)


def find_headings(lines: Sequence[str], start: int = 0) -> list[Heading]:
    """Find the headings that stand in no list, quote, code or HTML comment.

    Args:
        lines: Those of the file.
        start: Index of the line to begin with.
    """
    headings: list[Heading] = []
    fence = ""  # of the code block that a line stands in
    comment = False
    paragraph = -1  # index of the first line of the paragraph that a line continues
    for index in range(start, len(lines)):
        line = lines[index]
        if fence:
            end = line.strip()
            if len(end) >= len(fence) and end == fence[0] * len(end) and _indent(line) < 4:
                fence = ""
            continue
        if comment or _COMMENT.match(line):
            comment, paragraph = "-->" not in line, -1
            continue
        if found := _FENCE.match(line):
            fence, paragraph = found[1], -1
        elif found := _HEADING.match(line):
            text = _CLOSING.sub("", _ATTRIBUTES.sub("", (found[2] or "").rstrip()))
            headings.append(Heading(index, len(found[1]), _words(text)))
            paragraph = -1
        elif paragraph >= 0 and (found := _UNDERLINE.match(line)):
            text = " ".join(line.strip() for line in lines[paragraph:index])
            text = _ATTRIBUTES.sub("", text)
            level = 1 if found[1][0] == "=" else 2
            headings.append(Heading(paragraph, level, _words(text)))
            paragraph = -1
        elif not line.strip() or _RULE.match(line):
            paragraph = -1
        elif found := _OTHER_BLOCK.match(line):
            # A line after its paragraph continues that, and cannot be underlined.
            rest = line[found.end() :].lstrip()
            ended = not rest or _HEADING.match(rest) or _FENCE.match(rest)
            paragraph = -1 if ended else -2
        elif paragraph == -1 and _indent(line) < 4:
            paragraph = index
    return [heading for heading in headings if heading.text]


def _indent(line: str) -> int:
    text = line.expandtabs(4)
    return len(text) - len(text.lstrip(" "))


def _words(text: str) -> str:
    """Strip the markup of emphasis, code and links."""
    return _MARKUP.sub(r"\1", text).strip()


def _front_matter(lines: Sequence[str]) -> tuple[int, str]:
    """Return the index of the line after YAML at the beginning, and the title in it."""
    if not lines or lines[0].rstrip() != "---":
        return 0, ""
    title = ""
    for index, line in enumerate(lines[1:_FRONT_MATTER_LINES], 1):
        if line.rstrip() in ("---", "..."):
            return index + 1, title
        if line.startswith("title:"):
            title = line.removeprefix("title:").strip().strip("\"'")
    return 0, ""
