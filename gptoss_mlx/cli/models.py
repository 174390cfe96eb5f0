"""``gptoss-mlx models``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from gptoss_mlx.cli.options import JsonOpt
from gptoss_mlx.cli.progress import size_text

if TYPE_CHECKING:
    from gptoss_mlx.store import StoredModel

__all__ = ["list_models"]


def list_models(as_json: JsonOpt = False) -> None:
    """List the models on this machine.

    Example: gptoss-mlx models --json
    """
    from gptoss_mlx.store import models, models_folder

    found = models()
    if as_json:
        rows = [{**asdict(model), "path": str(model.path)} for model in found]
        typer.echo(json.dumps(rows, indent=2))
        return
    if not found:
        typer.echo(f"No models in {models_folder()} yet.", err=True)
        typer.echo("Hint: Download one: gptoss-mlx download 20b", err=True)
        return
    table = [("NAME", "MODEL", "RECIPE", "BYTES", "STATE"), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def _row(model: StoredModel) -> tuple[str, str, str, str, str]:
    if model.unfinished:
        state = "unfinished: run the command that was writing it again"
    elif model.problem:
        state = f"broken: {model.problem}"
    else:
        state = "ready"
    return (
        _printable(model.name),
        model.size or ("other" if model.layers else "-"),
        _printable(model.recipe or "-"),
        size_text(model.nbytes),
        _printable(state),
    )


def _printable(text: str) -> str:
    """Escape what could move the cursor: a folder may have any name."""
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode()
        for mark in text
    )
