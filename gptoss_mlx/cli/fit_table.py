"""Prints the tables of ``gptoss-mlx fit``."""

from __future__ import annotations

import os
import sys
from itertools import zip_longest
from typing import TYPE_CHECKING

import typer

from gptoss_mlx.cli.output import columns_of, print_styled
from gptoss_mlx.controls import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gptoss_mlx.fit.table import Cell, Table

__all__ = ["print_table"]

# Columns for a table that is piped: no cell is broken.
WIDE = 1_000

COLOURS = {"plain": None, "good": "green", "fair": "yellow", "bad": "red"}


def print_table(table: Table) -> None:
    """Print a table: in a terminal with colours, a line and no wider, else plain."""
    from gptoss_mlx.fit.table import split_columns

    terminal = _is_terminal()
    pieces = split_columns(table, columns_of(sys.stdout) if terminal else WIDE)
    for place, piece in enumerate(pieces):
        if place:
            print_styled("")
        if piece.title:
            print_styled(_styled(escaped(piece.title), bold=True))
        for line in _lines(piece, ruled=terminal):
            print_styled(line)


def _lines(table: Table, *, ruled: bool) -> Iterator[str]:
    """Lay a table out: the first column to the left, the others to the right.

    Args:
        table: The table.
        ruled: Whether there is a line below the names of the columns.
    """
    from gptoss_mlx.fit.table import GAP, Cell, column_widths

    widths = column_widths(table)
    names = tuple(Cell(name) for name in table.columns)
    yield from _row(names, widths, bold=True)
    if ruled:
        rule = "─" if (sys.stdout.encoding or "").lower().startswith("utf") else "-"
        yield rule * (sum(widths) + GAP * (len(widths) - 1))
    for row in table.rows:
        yield from _row(row, widths)


def _row(
    cells: tuple[Cell, ...], widths: list[int], *, bold: bool = False
) -> Iterator[str]:
    from gptoss_mlx.fit.table import BREAK, GAP

    columns = [[escaped(line) for line in cell.text.split(BREAK)] for cell in cells]
    for texts in zip_longest(*columns, fillvalue=""):
        line = ""
        for number, (text, width, cell) in enumerate(
            zip(texts, widths, cells, strict=True)
        ):
            gap = " " * (width - len(text))
            styled = _styled(text, colour=COLOURS[cell.tone], bold=bold)
            line += f"{' ' * GAP}{gap}{styled}" if number else f"{styled}{gap}"
        yield line.rstrip()


def _styled(text: str, *, colour: str | None = None, bold: bool = False) -> str:
    if not (text and (colour or bold) and _is_terminal()):
        return text
    # https://no-color.org
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return typer.style(text, fg=colour, bold=bold or None)


def _is_terminal() -> bool:
    return sys.stdout.isatty()
