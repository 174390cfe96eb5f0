"""``gptoss-mlx models``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from gptoss_mlx.cli.options import JsonOpt
from gptoss_mlx.cli.output import print_json, print_line, say
from gptoss_mlx.cli.progress import size_text
from gptoss_mlx.controls import escaped

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
        print_json(rows)
        return
    if not found:
        say(f"No models in {models_folder()} yet.")
        say("Hint: Download one: gptoss-mlx download 20b")
        return
    table = [("NAME", "MODEL", "RECIPE", "BYTES", "STATE"), *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print_line("  ".join(cells).rstrip())


def _row(model: StoredModel) -> tuple[str, str, str, str, str]:
    if model.unfinished:
        state = "unfinished: run the command that was writing it again"
    elif model.problem:
        state = f"broken: {model.problem}"
    else:
        state = "ready"
    return (
        escaped(model.name),
        model.size or ("other" if model.layers else "-"),
        escaped(model.recipe or "-"),
        size_text(model.nbytes),
        escaped(state),
    )
