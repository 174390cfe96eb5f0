"""``gptoss-mlx verify``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gptoss_mlx.cli.options import JsonOpt, ModelArg
from gptoss_mlx.cli.output import print_json, print_line

__all__ = ["verify"]


def verify(
    model: ModelArg,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="SRC",
            help="Released checkpoint that the model was made from.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOpt = False,
) -> None:
    """Check that a converted model is unchanged.

    Reads every byte and compares it with the manifest. With --against, experts and
    everything else that the recipe keeps as released must have the source's bytes, and
    the rest is quantized again and compared.

    Example: gptoss-mlx verify 20b --against ~/Downloads/gpt-oss-20b
    """
    from gptoss_mlx.cli.progress import byte_progress, size_text
    from gptoss_mlx.convert.verify import verify_checkpoint
    from gptoss_mlx.store import resolve

    folder = resolve(model)
    with byte_progress("Verifying") as progress:
        report = verify_checkpoint(folder, against, progress=progress)
    if as_json:
        print_json({"folder": str(folder), **asdict(report)})
        return
    print_line(f"{folder}: verified")
    print_line(
        f"manifest: {report.files} files, {report.tensors} tensors, "
        f"{size_text(report.nbytes)} match the recorded sha256"
    )
    if report.identical is not None:
        print_line(
            f"source: {report.identical} tensors have the same bytes, "
            f"{report.requantized} match after quantizing"
        )
