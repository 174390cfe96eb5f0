"""``gptoss-mlx doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from gptoss_mlx.cli.options import JsonOpt

__all__ = ["doctor"]


def doctor(
    json: JsonOpt = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a table to paste into an issue.")
    ] = False,
) -> None:
    """Look at this machine, and test the program on it.

    The demo model runs on the machine's own device. Its logits are compared with those
    of OpenAI's reference, and its answers with what it was trained to say. The exit code
    is 1 if something is wrong. Nothing is asked of a network.

    Example: gptoss-mlx doctor --markdown
    """
    # Imported here so that --help does not wait for MLX.
    from functools import partial
    from json import dumps

    from rich.console import Console

    from gptoss_mlx.doctor.examine import examine

    with Console(stderr=True).status("Testing"):
        report = examine(partial(typer.echo, err=True))
    if json:
        typer.echo(dumps(report.json(), ensure_ascii=False, indent=2))
    else:
        typer.echo(report.markdown() if markdown else report.text())
    if not report.passed:
        raise typer.Exit(1)
