"""Renders Markdown on a terminal while it is being written.

All of the model's text is visible: addresses beside their link texts, numbers as written,
and code ready to be copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from markdown_it.tree import SyntaxTreeNode
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from gptoss_mlx.chat.code_blocks import code_lines, is_language
from gptoss_mlx.chat.inline import inline_text
from gptoss_mlx.chat.markdown_parser import parse_blocks

__all__ = ["AnswerMarkdown"]

# Longer words may be broken.
MIN_COLUMN_CELLS = 6
# Text is never wrapped narrower than this, however deep it is nested.
LEAST_WIDTH = 10

_DIM = Style(dim=True)


class _Line(NamedTuple):
    """A line of the output.

    Attributes:
        segments: The line's segments, without the line end.
        is_code: Whether it begins at the left edge, even if nested, and is not wrapped.
    """

    segments: list[Segment]
    is_code: bool = False


class AnswerMarkdown:
    """An answer, or a part of one that ends between two blocks."""

    def __init__(self, markup: str) -> None:
        self._blocks = parse_blocks(markup)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in _stacked(self._blocks, console, options.max_width, parted=True):
            yield from line.segments
            yield Segment.line()


def _stacked(
    nodes: Iterable[SyntaxTreeNode], console: Console, width: int, *, parted: bool
) -> Iterator[_Line]:
    """Render blocks one below the other, separated by empty lines if ``parted``."""
    last = None
    for node in nodes:
        lines = _block(node, console, width)
        # Without a blank line, two paragraphs would look like one.
        if last is not None and (parted or last == node.type == "paragraph"):
            yield _Line([])
        yield from lines
        last = node.type


def _block(node: SyntaxTreeNode, console: Console, width: int) -> Iterable[_Line]:
    match node.type:
        case "paragraph":
            return _wrapped(_content(node), console, width)
        case "heading":
            style = "bold underline" if node.tag == "h1" else "bold"
            return _wrapped(_content(node, style), console, width)
        case "fence" | "code_block":
            return _code(node)
        case "blockquote":
            inside = _stacked(node.children, console, _inner(width, 2), parted=True)
            return _quoted(inside)
        case "bullet_list" | "ordered_list":
            return _list(node, console, width)
        case "table":
            return _table(node, console, width)
        case _:  # a thematic break, the only other kind
            return [_Line([Segment("─" * width, _DIM)])]


def _wrapped(text: Text, console: Console, width: int) -> Iterator[_Line]:
    """Wrap text; a word is broken only if it is longer than a line."""
    lines = [text]
    if not text.plain.isprintable() or cell_len(text.plain) > width:
        lines = list(text.wrap(console, max(width, 1), overflow="fold", tab_size=8))
    for line in lines:
        line.rstrip()
        yield _Line(list(line.render(console)))


def _inner(width: int, indent: int) -> int:
    return max(width - indent, min(width, LEAST_WIDTH))


def _content(node: SyntaxTreeNode, style: str = "") -> Text:
    return inline_text(node.children[0].content if node.children else "", style)


def _code(node: SyntaxTreeNode) -> Iterator[_Line]:
    info = node.info.strip()
    # The name of a language is omitted; any other text is the model's.
    if info and not is_language(info):
        yield _Line([Segment(info, _DIM)], is_code=True)
    for segments in code_lines(node.content, info):
        yield _Line(segments, is_code=True)


def _list(node: SyntaxTreeNode, console: Console, width: int) -> Iterator[_Line]:
    items = node.children
    if node.type == "bullet_list":
        marks = [" • "] * len(items)
    else:
        numbers = [f"{item.info}{item.markup}" for item in items]
        widest = max(map(len, numbers))
        marks = [f" {number:>{widest}} " for number in numbers]
    # Markdown-it hides the paragraphs of lists that have no empty lines in them.
    loose = any(
        child.type == "paragraph" and not child.hidden
        for item in items
        for child in item.children
    )
    for index, (mark, item) in enumerate(zip(marks, items, strict=True)):
        if index and loose:
            yield _Line([])
        inside = _stacked(item.children, console, _inner(width, len(mark)), parted=loose)
        yield from _marked(inside, mark)


def _marked(lines: Iterable[_Line], mark: str) -> Iterator[_Line]:
    """Put a mark before the first line, and equal space before the others."""
    before, space = mark, " " * len(mark)
    for line in lines:
        if before and (line.is_code or not line.segments):
            yield _Line([Segment(before.rstrip())])
        if line.is_code or not line.segments:
            yield line
        else:
            yield _Line([Segment(before or space), *line.segments])
        before = ""
    if before:
        yield _Line([Segment(before.rstrip())])


def _quoted(lines: Iterable[_Line]) -> Iterator[_Line]:
    for line in lines:
        if line.is_code:
            yield line
        else:
            yield _Line([Segment("▌ " if line.segments else "▌", _DIM), *line.segments])


def _table(node: SyntaxTreeNode, console: Console, width: int) -> Iterator[_Line]:
    """Render a table whose cells are wrapped and never cut."""
    rows = [row.children for part in node.children for row in part.children]
    cells = [[_content(cell) for cell in row] for row in rows]
    heads, body = cells[0], cells[1:]
    widths = [_least_width(column) for column in zip(*cells, strict=True)]
    if sum(widths) + 2 * len(widths) > width:
        # Too narrow for columns: one line per cell.
        for index, row in enumerate(body or [heads]):
            if index:
                yield _Line([])
            for head, cell in zip(heads, row, strict=True):
                text = Text.assemble((head.plain, "dim"), ": ", cell) if body else head
                yield from _wrapped(text, console, width)
        return
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True
    )
    for head, least, node in zip(heads, widths, rows[0], strict=True):
        table.add_column(head, overflow="fold", justify=_justify(node), min_width=least)
    for texts in body:
        table.add_row(*texts)
    options = console.options.update(width=width, height=None)
    for line in Segment.split_lines(console.render(table, options)):
        yield _Line(_trimmed(line))


def _justify(cell: SyntaxTreeNode) -> JustifyMethod:
    align = str(cell.attrs.get("style", "")).removeprefix("text-align:")
    return "right" if align == "right" else "center" if align == "center" else "left"


def _least_width(column: Sequence[Text]) -> int:
    """Return how wide a column must be to stay readable."""
    words = (word for cell in column for word in cell.plain.split())
    return min(max((cell_len(word) for word in words), default=1), MIN_COLUMN_CELLS)


def _trimmed(line: list[Segment]) -> list[Segment]:
    """Remove the spaces with which Rich pads a line to the full width."""
    while line and not line[-1].text.strip(" "):
        line.pop()
    if line:
        line[-1] = line[-1]._replace(text=line[-1].text.rstrip(" "))
    return line
