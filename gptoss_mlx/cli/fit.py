"""``gptoss-mlx fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.fit_options import (
    BandwidthOpt,
    MemoryOpt,
    ResidentOpt,
    SsdOpt,
    TraceOpt,
    WiredOpt,
    figures_of,
    find_folder,
    machine_of,
    picture_of,
    shares_of,
)
from gptoss_mlx.cli.fit_simulate import run_simulation
from gptoss_mlx.cli.fit_table import print_table
from gptoss_mlx.cli.options import JsonOpt, complete_model
from gptoss_mlx.cli.output import print_json, print_line, say

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["fit"]


def fit(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="20b, 120b, 20b-q8, a name that `gptoss-mlx models` lists, or a folder.  "
            "[default: 20b and 120b]",
            autocompletion=complete_model,
            show_default=False,
        ),
    ] = None,
    memory: MemoryOpt = None,
    wired: WiredOpt = None,
    context: Annotated[
        list[int] | None,
        typer.Option(
            "--context",
            metavar="TOKENS",
            min=1,
            help="Tokens of prompt and answer together; may be repeated.  [default: 4,096 "
            "to 131,072]",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe",
            metavar="RECIPE",
            help="A recipe's name or TOML file; may be repeated.  [default: all of ours]",
            show_default=False,
        ),
    ] = None,
    json: JsonOpt = False,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also draw it, as .png or .svg.",
            show_default=False,
        ),
    ] = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            help="Simulate the speed with a part of the experts in memory instead; for 20b "
            "unless MODEL is named.",
        ),
    ] = False,
    bandwidth: BandwidthOpt = None,
    ssd: SsdOpt = None,
    resident: ResidentOpt = None,
    trace: TraceOpt = None,
) -> None:
    """Show which models fit this machine, or another, before anything is downloaded.

    For each recipe: the weights, what a conversation needs beside them, and whether it
    fits; fits after the wired limit is raised; streams experts from the disk; or does
    not fit. Nothing is loaded, and the network is not used.

    Example: gptoss-mlx fit 20b --memory 16GB --wired 10.7GiB
    """
    _check_options(
        {"--resident": resident, "--trace": trace},
        {"--context": context, "--recipe": recipe, "--plot": plot},
        simulate=simulate,
    )
    picture = None if plot is None else picture_of(plot)
    machine, assumed = machine_of(memory, wired)
    figures = figures_of(machine, bandwidth, ssd)
    if simulate:
        shares = shares_of(resident)
        run_simulation(
            model or "20b",
            machine,
            figures,
            shares,
            trace,
            as_json=json,
            is_here=memory is None,
        )
        return
    # Imported here so that --help does not wait for MLX.
    from gptoss_mlx.fit.json_form import fit_json
    from gptoss_mlx.fit.plan import fit_model
    from gptoss_mlx.fit.plot import save_plot
    from gptoss_mlx.fit.table import machine_line, notes, tables
    from gptoss_mlx.fit.target import find_targets

    targets = find_targets(model, recipe or (), find_folder)
    fits = [fit_model(target, machine, context or (), figures) for target in targets]
    if json:
        print_json(fit_json(fits, machine, limit_is_assumed=bool(assumed)))
    else:
        print_line(machine_line(machine, assumed))
        for found in fits:
            for table in tables(found):
                print_line("")
                print_table(table)
        lines = notes(fits)
        if lines:
            print_line("")
        for line in lines:
            print_line(line)
    if picture is not None:
        save_plot(fits, picture)
        say(f"Drawn: {picture}")


def _check_options(
    of_simulation: Mapping[str, object], of_table: Mapping[str, object], *, simulate: bool
) -> None:
    """Refuse options that would do nothing.

    Raises:
        BadParameter: There are some.
    """
    for option, given in (of_table if simulate else of_simulation).items():
        if given:
            needs = "cannot be used with" if simulate else "needs"
            raise typer.BadParameter(f"it {needs} --simulate", param_hint=option)
