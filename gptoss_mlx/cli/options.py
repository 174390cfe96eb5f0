"""Arguments and options that more than one command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["CheckpointArg", "JsonOpt", "ModelArg"]

# A folder that does not exist is the library's error to tell, with its hint.
CheckpointArg = Annotated[
    Path,
    typer.Argument(
        metavar="SRC",
        help="Folder of a checkpoint (config.json and *.safetensors).",
        show_default=False,
    ),
]

ModelArg = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name that `gptoss-mlx models` lists, 20b, 120b, demo, or a folder.",
    ),
]

JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON.")]
