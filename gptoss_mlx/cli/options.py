"""Arguments and options of more than one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gptoss_mlx.released_names import RECIPE_NAMES

__all__ = [
    "CheckpointArg",
    "EffortOpt",
    "JsonOpt",
    "MaxTokensOpt",
    "MemoryBudgetOpt",
    "ModelArg",
    "ModelOpt",
    "OptionalModelArg",
    "RecipeOpt",
    "ResidentOpt",
    "SeedOpt",
    "ShowReasoningOpt",
    "StatsOpt",
    "SystemOpt",
    "TemperatureOpt",
    "TopPOpt",
    "WireOpt",
    "check_residency",
    "complete_model",
    "one_model",
]

# The library reports a missing folder, or one that may not be read, itself, with a hint.
CheckpointArg = Annotated[
    Path,
    typer.Argument(
        readable=False,
        metavar="SRC",
        help="Folder of a checkpoint (config.json and *.safetensors).",
        show_default=False,
    ),
]

MODELS = "A name that `gptoss-mlx models` lists, 20b, 120b, demo, or a folder."
DEFAULT_MODEL = "  [default: 20b or 120b if it is here, else demo]"


def complete_model(incomplete: str) -> list[str]:
    """List the model names that begin with the typed text, for Tab completion."""
    # Imported here: --help does not need it.
    from gptoss_mlx.errors import GptOssError
    from gptoss_mlx.store import models

    try:
        stored = [model.name for model in models() if not model.unfinished]
    except GptOssError:
        stored = []
    names = ["20b", "120b", "demo", *stored]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


ModelArg = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help=MODELS, autocompletion=complete_model, show_default=False
    ),
]

OptionalModelArg = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=MODELS + DEFAULT_MODEL,
        autocompletion=complete_model,
        show_default=False,
    ),
]

JsonOpt = Annotated[bool, typer.Option("--json", help="Print JSON.")]

ModelOpt = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help=MODELS + DEFAULT_MODEL,
        autocompletion=complete_model,
        show_default=False,
    ),
]

EffortOpt = Annotated[
    Literal["low", "medium", "high"],
    typer.Option("--effort", help="Reasoning effort."),
]

SystemOpt = Annotated[
    str | None,
    typer.Option(
        "--system",
        "-s",
        metavar="TEXT",
        help="Instructions for the whole conversation.",
        show_default=False,
    ),
]

MaxTokensOpt = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="The most tokens of an answer, reasoning included.",
        show_default=False,
    ),
]

ShowReasoningOpt = Annotated[
    bool, typer.Option("--show-reasoning", help="Also print the reasoning.")
]

StatsOpt = Annotated[
    bool, typer.Option("--stats", help="Also say what the answer took, on stderr.")
]

TemperatureOpt = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=100,
        help="0 is greedy: always the likeliest token.  [default: the model's own]",
        show_default=False,
    ),
]

TopPOpt = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=1,
        help="Draw from the likeliest tokens that together have this probability.",
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


def _complete_recipe(incomplete: str) -> list[str]:
    return [name for name in RECIPE_NAMES if name.startswith(incomplete)]


RecipeOpt = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="exact: as released. q8, q6: attention, embedding and lm_head in 8 or 6 bits. "
        "small: for 16 GB. Or a TOML file.  [default: by what fits this machine]",
        autocompletion=_complete_recipe,
        show_default=False,
    ),
]

WireOpt = Annotated[
    bool,
    typer.Option(
        "--wire/--no-wire",
        help="Whether to wire a large model's memory while it answers, so macOS keeps it.",
    ),
]


def _share(text: str) -> float:
    from gptoss_mlx.model.amounts import parse_share

    try:
        return parse_share(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _bytes(text: str) -> int:
    from gptoss_mlx.model.amounts import parse_bytes

    try:
        return parse_bytes(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


ResidentOpt = Annotated[
    float | None,
    typer.Option(
        "--resident",
        metavar="SHARE",
        parser=_share,
        help="Keep this share of the experts in memory, e.g. 60%; the others are read from "
        "the disk when they are needed.  [default: all]",
        show_default=False,
    ),
]

MemoryBudgetOpt = Annotated[
    int | None,
    typer.Option(
        "--memory-budget",
        metavar="BYTES",
        parser=_bytes,
        help="Keep as many experts in memory as this allows, e.g. 8GB, instead of a share.",
        show_default=False,
    ),
]


def check_residency(resident: float | None, memory_budget: int | None) -> None:
    """Check that not both are given.

    Raises:
        BadParameter: Both are.
    """
    if resident is not None and memory_budget is not None:
        raise typer.BadParameter(
            "name --resident or --memory-budget, not both", param_hint="--memory-budget"
        )


def one_model(argument: str | None, option: str | None) -> str | None:
    """Return the model named by the argument or by ``--model``.

    Raises:
        BadParameter: Both are given, and differ.
    """
    if argument is not None and option is not None and argument != option:
        raise typer.BadParameter(
            f"name one model, not both {argument!r} and {option!r}", param_hint="--model"
        )
    return argument if option is None else option
