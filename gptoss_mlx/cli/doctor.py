"""``gptoss-mlx doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from gptoss_mlx.cli.options import MODELS, JsonOpt
from gptoss_mlx.cli.output import print_json, print_rows, print_text, say

__all__ = ["doctor"]


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help=f"Also measure the speed of this model. {MODELS}",
            show_default=False,
        ),
    ] = None,
    json: JsonOpt = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a table to paste into an issue.")
    ] = False,
) -> None:
    """Describe this machine, and test the program on it.

    The demo model's logits are compared with OpenAI's, its answers with its training
    texts, and a layer of gpt-oss's real shape with one in NumPy, all on the machine's own
    device. The exit code is 1 if a test fails. With MODEL, its speed and memory are
    measured, for two minutes at most. The network is not used.

    Example: gptoss-mlx doctor 20b --markdown
    """
    import os

    # MLX reads it at its first product. By default it is on, and an M5
    # rounds the operands of float32 products to 11 bits.
    os.environ["MLX_ENABLE_TF32"] = "0"
    # Imported here so that --help does not wait for MLX.
    from rich.console import Console

    from gptoss_mlx.doctor.examine import examine

    console = Console(stderr=True)
    with console.status("Testing") as status:

        def stage(text: str) -> None:
            if console.is_terminal:
                status.update(f"Testing: {text}")
            else:
                say(f"Testing: {text}")

        report = examine(say, stage, model)
    if json:
        print_json(report.json())
    elif markdown:
        print_text(report.markdown())
    else:
        print_rows(report.rows())
    if not report.passed:
        raise typer.Exit(1)
