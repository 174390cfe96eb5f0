"""Arguments and options that more than one command takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "CheckpointArg",
    "EffortOpt",
    "JsonOpt",
    "ModelArg",
    "ModelOpt",
    "OptionalModelArg",
    "SeedOpt",
    "SystemOpt",
    "TemperatureOpt",
    "WireOpt",
]

# A folder that does not exist is the library's error to tell, with its hint.
CheckpointArg = Annotated[
    Path,
    typer.Argument(
        metavar="SRC",
        help="Folder of a checkpoint (config.json and *.safetensors).",
        show_default=False,
    ),
]

MODELS = "A name that `gptoss-mlx models` lists, 20b, 120b, demo, or a folder."
DEFAULT_MODEL = "  [default: 20b or 120b if it is here, else demo]"

ModelArg = Annotated[str, typer.Argument(metavar="MODEL", help=MODELS)]

OptionalModelArg = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help=MODELS + DEFAULT_MODEL, show_default=False),
]

JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON.")]

ModelOpt = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help=MODELS + DEFAULT_MODEL,
        show_default=False,
    ),
]

EffortOpt = Annotated[
    Literal["low", "medium", "high"],
    typer.Option("--effort", help="How long the model is to reason."),
]

SystemOpt = Annotated[
    str | None,
    typer.Option(
        "--system",
        metavar="TEXT",
        help="Instructions that hold for the whole conversation.",
        show_default=False,
    ),
]

TemperatureOpt = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=100,
        help="0 always takes the likeliest token.  [default: the model's own]",
        show_default=False,
    ),
]

SeedOpt = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=2**64 - 1,
        help="The same seed gives the same answer.",
        show_default=False,
    ),
]

WireOpt = Annotated[
    bool,
    typer.Option(
        "--wire/--no-wire",
        help="Whether to keep macOS from moving a large model's memory while it answers.",
    ),
]
