"""``gptoss-mlx fit --simulate``: the speed with a part of the experts on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_mlx.cli.fit_options import find_folder
from gptoss_mlx.cli.fit_table import print_table
from gptoss_mlx.cli.output import print_json, print_line
from gptoss_mlx.errors import FitError
from gptoss_mlx.files import expanded

if TYPE_CHECKING:  # --help does not wait for NumPy and MLX
    from gptoss_mlx.config import ModelConfig
    from gptoss_mlx.device import Machine
    from gptoss_mlx.fit.ladder import Step
    from gptoss_mlx.fit.speed import SpeedFigures
    from gptoss_mlx.fit.table import Cell
    from gptoss_mlx.fit.traces import Trace

__all__ = ["run_simulation"]

DRAWN_TOKENS, DRAWN_SEED = 600, 0

HEADS = (
    "in memory",
    "experts",
    "needs",
    "fits",
    "hits",
    "read/token",
    "compute",
    "sync",
    "read",
    "tokens/s",
    "prompt reads",
)


def run_simulation(
    model: str,
    machine: Machine,
    figures: SpeedFigures,
    resident: Sequence[float] = (),
    trace: Path | None = None,
    *,
    as_json: bool = False,
    is_here: bool = False,
) -> None:
    """Print the simulated speed with each share of the experts in memory.

    Args:
        model: 20b, 120b, either with a recipe (``120b-exact``), or a model on this machine.
        machine: The machine to simulate.
        figures: Its speeds.
        resident: Shares of the experts in memory. Empty: several, up to all.
        trace: File of a routing trace. None: one is drawn with recency.
        as_json: Whether to print JSON.
        is_here: Whether it is this machine: then no other's bandwidth is assumed.

    Raises:
        FitError: A figure is out of range, or the bandwidth is not known.
        TraceError: The file is not a routing trace.
        GptOssError: The model cannot be opened.
    """
    # Imported here so that --help does not wait for MLX.
    from gptoss_mlx.fit.costs import Disk
    from gptoss_mlx.fit.ladder import simulate_ladder
    from gptoss_mlx.fit.table import Table
    from gptoss_mlx.fit.target import find_packed

    name, config, packing = find_packed(model, find_folder)
    if is_here and figures.memory_is_assumed:
        raise FitError(
            f"The memory bandwidth of {machine.device} is not known.",
            hint="Name it: gptoss-mlx fit --simulate --bandwidth 120GB/s",
        )
    bandwidth, disk = figures.memory_bytes_per_s, Disk(figures.disk_bytes_per_s)
    routing = "as recorded" if trace is not None else "drawn with recency"
    steps = simulate_ladder(
        config,
        packing,
        machine,
        _trace(trace, config),
        disk,
        bandwidth,
        figures.costs,
        shares=resident,
    )
    given = {
        "model": name,
        "memory_bytes": machine.memory_bytes,
        "limit_bytes": machine.limit_bytes,
        "bandwidth_bytes_per_s": bandwidth,
        "bandwidth_is_assumed": figures.memory_is_assumed,
        "disk_bytes_per_s": disk.bytes_per_s,
        "disk_is_assumed": figures.disk_is_assumed,
        "routing": routing,
    }
    if as_json:
        print_json({**given, "steps": [_json(step) for step in steps]})
        return
    memory = _rate(bandwidth, is_assumed=figures.memory_is_assumed)
    read = _rate(disk.bytes_per_s, is_assumed=figures.disk_is_assumed)
    print_line(
        f"{name}: memory {memory}, a program may use "
        f"{machine.limit_bytes / 1e9:.1f} of {machine.memory_bytes / 1e9:.1f} GB, "
        f"disk {read}, routing {routing}."
    )
    print_table(Table("", HEADS, tuple(map(_cells, steps))))
    print_line("Simulated, not measured: see docs/memory-simulator.md.")


def _rate(bytes_per_s: float, *, is_assumed: bool) -> str:
    whose = " (an M4's)" if is_assumed else ""
    return f"{bytes_per_s / 1e9:g} GB/s{whose}"


def _trace(path: Path | None, config: ModelConfig) -> Trace:
    from gptoss_mlx.fit.drawn_traces import draw_trace
    from gptoss_mlx.fit.traces import load_trace

    if path is not None:
        return load_trace(expanded(str(path)))
    return draw_trace(
        "recency",
        layers=config.num_hidden_layers,
        experts=config.num_local_experts,
        chosen=config.num_experts_per_tok,
        tokens=DRAWN_TOKENS,
        seed=DRAWN_SEED,
    )


def _json(step: Step) -> dict[str, Any]:
    found = step.simulation
    return {
        "slots_per_layer": found.slots[0],
        "experts_bytes": found.experts_bytes,
        "needs_bytes": step.needs_bytes,
        "fits": step.fits,
        "hit_rate": found.hit_rate,
        "read_bytes_per_token": found.read_bytes,
        "compute_s": found.compute_s,
        "sync_s": found.sync_s,
        "read_s": found.read_s,
        "tokens_per_s": found.tokens_per_s,
        "prefill_read_bytes": found.prefill_read_bytes,
        "prefill_read_s": found.prefill_read_s,
    }


def _cells(step: Step) -> tuple[Cell, ...]:
    from gptoss_mlx.fit.table import Cell

    found = step.simulation
    all_bytes = found.experts_bytes + found.prefill_read_bytes
    texts = (
        f"{found.experts_bytes / all_bytes:.0%}",
        f"{found.slots[0]} a layer",
        f"{step.needs_bytes / 1e9:.1f} GB",
        "yes" if step.fits else "no",
        f"{found.hit_rate:.1%}",
        f"{found.read_bytes / 1e6:,.0f} MB",
        f"{1e3 * found.compute_s:.1f} ms",
        f"{1e3 * found.sync_s:.1f} ms",
        f"{1e3 * found.read_s:.1f} ms",
        f"{found.tokens_per_s:.1f}",
        f"{found.prefill_read_s:.1f} s",
    )
    return tuple(map(Cell, texts))
