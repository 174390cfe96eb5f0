"""Markdown on a terminal, while it is being written.

All that the model wrote is seen: HTML and definitions of links stay text, and addresses
stand next to what they are linked to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.markdown import (
    CodeBlock,
    Heading,
    HorizontalRule,
    Markdown,
    MarkdownElement,
    TableDataElement,
    TableElement,
)
from rich.rule import Rule
from rich.segment import Segment
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

__all__ = ["MARKDOWN_THEME", "AnswerMarkdown", "whole_blocks"]

# The terminal's own background everywhere: it may be light or dark.
MARKDOWN_THEME = Theme({"markdown.code": "bold cyan", "markdown.h2": "bold"})

# Longer words may be broken.
LEAST_COLUMN = 6

_PARSER = (
    MarkdownIt("commonmark", {"maxNesting": 100})
    .enable(["strikethrough", "table"])
    .disable(["html_block", "html_inline", "reference", "image"])
)


def whole_blocks(text: str) -> int:
    """Count the characters of ``text`` that belong to blocks which are whole.

    A top-level block ends where the next one begins. The last line does not count until
    it has ended: ``***`` may become a rule or the beginning of a bold word.
    """
    lines = text[: text.rfind("\n") + 1]
    starts = [
        token.map[0]
        for token in _PARSER.parse(lines)
        if token.level == 0 and token.nesting >= 0 and token.map is not None
    ]
    if len(starts) < 2:
        return 0
    end = 0
    for _ in range(starts[-1]):
        end = lines.index("\n", end) + 1
    return end


class _Code(CodeBlock):
    """Code as it is to be copied: without a frame around it."""

    info = ""

    @classmethod
    def create(cls, markdown: Markdown, token: Token) -> _Code:
        info = token.info.strip()
        code = cls(info.partition(" ")[0] or "text", markdown.code_theme)
        code.info = info
        return code

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        syntax = Syntax(
            str(self.text).rstrip(),
            self.lexer_name,
            theme=self.theme,
            background_color="default",
            word_wrap=True,
        )
        # The name of a language goes without saying; anything else is the model's text.
        if self.info and (self.info != self.lexer_name or syntax.lexer is None):
            yield Text(self.info, style="dim")
        yield syntax


class _Heading(Heading):
    """A heading at the left, whatever its level."""

    LEVEL_ALIGN: ClassVar[dict[str, JustifyMethod]] = {
        f"h{level}": "default" for level in range(1, 7)
    }


class _Rule(HorizontalRule):
    """A line across."""

    new_line = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(style="dim")


class _Table(TableElement):
    """A table whose cells are wrapped and never cut."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        heads = self.header.row.cells if self.header and self.header.row else []
        rows = [row.cells for row in self.body.rows] if self.body else []
        widths = (_least_width(column) for column in zip(heads, *rows, strict=False))
        if sum(widths) > options.max_width:
            # Too narrow for columns: one line a cell.
            for row in rows or [heads]:
                for head, cell in zip(heads, row, strict=False):
                    yield Text.assemble((head.content.plain, "dim"), ": ", cell.content)
                yield Text()
            return
        table = Table(
            box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True
        )
        for head in heads:
            table.add_column(head.content, overflow="fold", justify=head.justify)
        for row in rows:
            table.add_row(*(cell.content for cell in row))
        yield table


def _least_width(column: Sequence[TableDataElement]) -> int:
    """Tell how wide a column must be to be read, with the space next to it."""
    words = (word for cell in column for word in cell.content.plain.split())
    return min(max((cell_len(word) for word in words), default=1), LEAST_COLUMN) + 2


class AnswerMarkdown(Markdown):
    """An answer, or a part of one that ends between two blocks."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
        "hr": _Rule,
        "table_open": _Table,
    }

    def __init__(self, markup: str) -> None:
        # Justified "left", lines would be filled up with spaces.
        super().__init__("", code_theme="ansi_dark", justify="default", hyperlinks=False)
        self.markup = markup
        self.parsed = _PARSER.parse(markup)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts = super().__rich_console__(console, options)
        segments = (part for part in parts if isinstance(part, Segment))
        lines = [_trimmed(line) for line in Segment.split_lines(segments)]
        # Rich begins with an empty line where a list or a table is the first block.
        for line in lines[not lines[0] :] if lines else []:
            yield from line
            yield Segment.line()


def _trimmed(line: list[Segment]) -> list[Segment]:
    """Leave out the spaces with which Rich fills a line up to the width."""
    while line and not line[-1].text.strip(" "):
        line.pop()
    if line:
        line[-1] = line[-1]._replace(text=line[-1].text.rstrip(" "))
    return line
