"""The options of ``gptoss-mlx fit`` that name a machine, and what they mean."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gptoss_mlx.cli.output import say
from gptoss_mlx.errors import storage_errors
from gptoss_mlx.files import expanded, short

if TYPE_CHECKING:  # --help does not wait for MLX
    from collections.abc import Callable, Sequence

    from gptoss_mlx.device import Machine
    from gptoss_mlx.fit.speed import SpeedFigures

__all__ = [
    "BandwidthOpt",
    "MemoryOpt",
    "ResidentOpt",
    "SsdOpt",
    "TraceOpt",
    "WiredOpt",
    "figures_of",
    "find_folder",
    "machine_of",
    "picture_of",
    "shares_of",
]

T = TypeVar("T")

MemoryOpt = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Plan for another Mac, with so much memory: 16GB, as its label says.",
        show_default=False,
    ),
]

WiredOpt = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="How much of it a program may use, such as 10.7GiB.  [default: of this "
        "machine what MLX says, of another what macOS 15 recommends]",
        show_default=False,
    ),
]

BandwidthOpt = Annotated[
    str | None,
    typer.Option(
        "--bandwidth",
        metavar="RATE",
        help="The memory's bandwidth, e.g. 120GB/s.  [default: this chip's; of another "
        "Mac an M4's]",
        show_default=False,
    ),
]

SsdOpt = Annotated[
    str | None,
    typer.Option(
        "--ssd",
        metavar="RATE",
        help="What the SSD reads, e.g. 5.8GB/s.  [default: as --bandwidth]",
        show_default=False,
    ),
]

ResidentOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--resident",
        metavar="SHARE",
        help="Share of the experts in memory, e.g. 60%; may be repeated.",
        show_default=False,
    ),
]

TraceOpt = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Routing of a recorded text.  [default: drawn with recency]",
        show_default=False,
    ),
]

# Bytes per second that a machine may have.
BANDWIDTH_RANGE, SSD_RANGE = (1e9, 1e14), (1e6, 1e12)


def machine_of(memory: str | None, wired: str | None) -> tuple[Machine, str]:
    """Return the machine to plan for, and how its limit was assumed, if it was.

    Raises:
        BadParameter: An option is no amount, or the limit is above the memory.
        DeviceError: There is no device.
    """
    from dataclasses import replace

    from gptoss_mlx.device import this_machine
    from gptoss_mlx.fit.machine import another_mac, assumed_share
    from gptoss_mlx.model.amounts import parse_bytes, parse_memory

    limit = None if wired is None else _parsed(wired, "--wired", parse_bytes)
    if memory is None:
        here = this_machine()
        machine = here if limit is None else replace(here, limit_bytes=limit)
    else:
        machine = another_mac(_parsed(memory, "--memory", parse_memory), limit)
    total = machine.memory_bytes
    if machine.limit_bytes > total:
        raise typer.BadParameter(
            f"it must be at most the memory, {total / 1e9:.1f} GB ({total:,} bytes), but "
            f"is {machine.limit_bytes:,} bytes",
            param_hint="--wired",
        )
    if memory is None or limit is not None:
        return machine, ""
    return machine, str(assumed_share(total))


def figures_of(machine: Machine, bandwidth: str | None, ssd: str | None) -> SpeedFigures:
    """Return what to estimate a machine's speeds with.

    Raises:
        BadParameter: An option is no rate, or none that a machine has.
    """
    from gptoss_mlx.fit.speed import figures_for
    from gptoss_mlx.model.amounts import parse_rate

    def rate(text: str | None, option: str, bounds: tuple[float, float]) -> float | None:
        if text is None:
            return None
        return _parsed(text, option, partial(parse_rate, least=bounds[0], most=bounds[1]))

    return figures_for(
        machine.device,
        bandwidth=rate(bandwidth, "--bandwidth", BANDWIDTH_RANGE),
        ssd=rate(ssd, "--ssd", SSD_RANGE),
    )


def find_folder(name: str) -> Path:
    """Return the folder of a model, which may be the demo's or in the Hugging Face cache.

    Raises:
        GptOssError: It cannot be found or made.
    """
    from gptoss_mlx.demo.folder import DEMO, open_demo
    from gptoss_mlx.sharing.cached_models import find_model

    return open_demo(say).folder if name == DEMO else find_model(name)


def shares_of(resident: Sequence[str] | None) -> list[float]:
    """Return the shares of ``--resident``.

    Raises:
        BadParameter: One is no share.
    """
    from gptoss_mlx.model.amounts import parse_share

    return [_parsed(share, "--resident", parse_share) for share in resident or ()]


def picture_of(plot: Path) -> Path:
    """Return the file of ``--plot``.

    Raises:
        BadParameter: It cannot be a picture's, or its folder is missing.
        StorageError: The system does not allow a look.
    """
    path = expanded(str(plot))
    if path.suffix.lower() not in (".png", ".svg"):
        raise typer.BadParameter(
            f"the name must end in .png or .svg but is {short(path.name)}",
            param_hint="--plot",
        )
    with storage_errors(path):
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder", param_hint="--plot")
        if not path.parent.is_dir():
            raise typer.BadParameter(
                f"the folder {path.parent} is missing", param_hint="--plot"
            )
    return path


def _parsed(text: str, option: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error
