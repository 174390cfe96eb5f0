"""What ``gptoss-mlx fit`` prints: tables as rows of cells, and the lines around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gptoss_mlx.controls import escaped
from gptoss_mlx.device import Machine
from gptoss_mlx.fit.plan import ModelFit, estimated_tokens_per_s
from gptoss_mlx.fit.speed import SpeedFigures
from gptoss_mlx.model import memory
from gptoss_mlx.model.footprint import cache_bytes, held_bytes
from gptoss_mlx.model.memory import settings_for
from gptoss_mlx.model.plan import Plan, Verdict

__all__ = [
    "BREAK",
    "GAP",
    "Cell",
    "Table",
    "column_widths",
    "machine_line",
    "notes",
    "split_columns",
    "tables",
    "verdict_text",
]

GAP = 2
"""Spaces between the columns of a table."""

Tone = Literal["plain", "good", "fair", "bad"]
_TONES: dict[Verdict, Tone] = {
    "fits": "good",
    "raise": "fair",
    "stream": "fair",
    "no": "bad",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What it says. It is broken only where it has ``BREAK``.
        tone: How good its news is.
    """

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its title, the names of its columns, and its rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


BREAK = "\n"
"""Where a cell may go on in a further line; otherwise a space."""


def split_columns(table: Table, width: int) -> list[Table]:
    """Split a table into ones that are no wider than a terminal.

    Cells are first broken. If that is too wide, later columns go to further tables, each
    with the first column again. A table has two columns at least, however wide they are.

    Args:
        table: The table.
        width: Columns of the terminal.
    """
    whole = _unbroken(table)
    if sum(column_widths(whole)) + GAP * (len(table.columns) - 1) <= width:
        return [whole]
    first, *others = (needed + GAP for needed in column_widths(table))
    groups: list[list[int]] = []
    left = 0
    for number, needed in enumerate(others, 1):
        if not groups or needed > left:
            groups.append([])
            left = width - first + GAP
        groups[-1].append(number)
        left -= needed
    return [
        Table(
            "" if place else table.title,
            tuple(table.columns[number] for number in (0, *group)),
            tuple(tuple(row[number] for number in (0, *group)) for row in table.rows),
        )
        for place, group in enumerate(groups)
    ]


def column_widths(table: Table) -> list[int]:
    """Return the width of each column, without the gaps between them."""
    names = tuple(Cell(name) for name in table.columns)
    return [
        max(len(escaped(line)) for cell in column for line in cell.text.split(BREAK))
        for column in zip(names, *table.rows, strict=True)
    ]


def _unbroken(table: Table) -> Table:
    rows = (
        tuple(replace(cell, text=cell.text.replace(BREAK, " ")) for cell in row)
        for row in table.rows
    )
    return replace(table, rows=tuple(rows))


def machine_line(machine: Machine, assumed: str = "") -> str:
    """Say what the machine has, in one line.

    Args:
        machine: The machine.
        assumed: How the limit was assumed, e.g. ``2/3``; empty if it was read or named.
    """
    kind = "" if machine.kind == "gpu" else f", computing in {machine.dtype} on the CPU"
    why = f" (assumed: {assumed} of it, as macOS 15 recommends)" if assumed else ""
    return (
        f"{machine.device}{kind}: {_gb(machine.memory_bytes)} GB of memory, of which a "
        f"program may use {_gb(machine.limit_bytes)} GB{why}."
    )


def tables(fit: ModelFit) -> list[Table]:
    """Make the tables of a model: weights, what is beside them, and the verdicts."""
    return [_weights(fit), _beside(fit), _verdicts(fit)]


def notes(fits: Sequence[ModelFit]) -> list[str]:
    """Explain the verdicts that appear, one line each."""
    plans = [plan for fit in fits for recipe in fit.recipes for plan in recipe.plans]
    verdicts = {plan.verdict for plan in plans}
    lines = []
    if "raise" in verdicts:
        lines.append(
            "with N MB: it fits after sudo sysctl iogpu.wired_limit_mb=N, which is lost at "
            "the next restart."
        )
    if any(estimated_tokens_per_s(plan) is not None for plan in plans):
        lines.append(
            "streams N %: with N % of the experts in memory and the others read from the "
            "disk; the tokens per second are an estimate for "
            f"{_figures_text(fits[0].figures)}."
        )
    return lines


def _figures_text(figures: SpeedFigures) -> str:
    """Say which figures a speed is estimated with, and how to name others."""
    memory = f"{figures.memory_bytes_per_s / 1e9:g}"
    disk = f"{figures.disk_bytes_per_s / 1e9:g}"
    text = f"{memory} GB/s of memory and {disk} of the SSD"
    match figures.memory_is_assumed, figures.disk_is_assumed:
        case True, True:
            return f"an M4's {text}; name another's with --bandwidth and --ssd"
        case True, False:
            return f"an M4's {text}; name another's memory with --bandwidth"
        case False, True:
            text = f"{memory} GB/s of memory and an M4's {disk} of the SSD"
            return f"{text}; name another's with --ssd"
        case _:
            return text


def _weights(fit: ModelFit) -> Table:
    rows = []
    for recipe in fit.recipes:
        weights = recipe.plans[0].footprint.weights
        parts = (
            weights.experts_bytes,
            weights.attention_bytes,
            weights.embedding_bytes,
            weights.lm_head_bytes,
            weights.expert_biases_bytes + weights.other_bytes,
            weights.total_bytes,
        )
        rows.append((Cell(recipe.recipe), *(Cell(_gb(part, 2)) for part in parts)))
    columns = ("experts", "attention", "embedding", "lm_head", "other", "all")
    return Table(f"{fit.name}: weights, GB", ("recipe", *columns), tuple(rows))


def _beside(fit: ModelFit) -> Table:
    """Show what a conversation needs beside the weights, with the machine's settings."""
    config, machine = fit.config, fit.machine
    usual, *_, least = settings_for(machine)
    value_bytes = machine.value_bytes

    def row(name: str, of: Sequence[int]) -> tuple[Cell, ...]:
        return (Cell(name), *(Cell(_gb(nbytes, 2)) for nbytes in of))

    held = [held_bytes(config, context, value_bytes) for context in fit.contexts]
    buffers = [cache_bytes(config, context, value_bytes) for context in fit.contexts]
    more = [b - h for b, h in zip(buffers, held, strict=True)]
    computing = [
        [
            memory.transient_bytes(config, machine, settings, context_tokens=context)
            for context in fit.contexts
        ]
        for settings in (usual, least)
    ]
    count = len(fit.contexts)
    rows = [
        row("keys and values", held),
        row("their room and snapshots", more),
        row(f"reading {usual.chunk_tokens:,} tokens at once", computing[0]),
        row(f"  at least, {least.chunk_tokens:,}", computing[1]),
        row("freed memory MLX keeps", [memory.kept_bytes(machine, usual)] * count),
        row("  at least", [memory.kept_bytes(machine, least)] * count),
        row("the program", [memory.PROGRAM_BYTES] * count),
    ]
    return Table(
        f"{fit.name}: beside the weights, GB",
        ("tokens of conversation", *(f"{context:,}" for context in fit.contexts)),
        tuple(rows),
    )


def _verdicts(fit: ModelFit) -> Table:
    rows = []
    for recipe in fit.recipes:
        longest = recipe.plans[0].footprint.longest_context_tokens
        rows.append(
            (
                Cell(recipe.recipe),
                *(
                    Cell(BREAK.join(_verdict(plan, fit.figures)), _TONES[plan.verdict])
                    for plan in recipe.plans
                ),
                Cell(f"{longest:,}" if longest else "-"),
            )
        )
    columns = ("recipe", *(f"{context:,}" for context in fit.contexts), "fits up to")
    return Table(f"{fit.name}: does it fit?", columns, tuple(rows))


def verdict_text(plan: Plan, figures: SpeedFigures) -> str:
    """Say in a few words how a model runs, with what it needs in all."""
    return " ".join(_verdict(plan, figures))


def _verdict(plan: Plan, figures: SpeedFigures) -> list[str]:
    """Return the ways to run a model."""
    needs = f"{_gb(plan.footprint.total_bytes)} GB"
    speed = estimated_tokens_per_s(plan, figures)
    streams = ""
    if speed is not None:
        streams = f"streams {100 * plan.resident_fraction:.0f} %, {_rate(speed)}/s"
    match plan.verdict:
        case "fits":
            return [f"fits: {needs}"]
        case "raise":
            raised = f"with {plan.raised_mb:,} MB"
            return [f"{raised},", f"or {streams}"] if streams else [raised]
        case "stream":
            return [streams]
        case _:
            return [f"no: {needs}"]


def _rate(tokens_per_s: float) -> str:
    return f"{tokens_per_s:.0f}" if tokens_per_s >= 10 else f"{tokens_per_s:.1f}"


def _gb(nbytes: int, digits: int = 1) -> str:
    return f"{nbytes / 1e9:.{digits}f}"
