"""What a token costs on a Mac besides its bytes: figures of the program and of the disk.

The share of the bandwidth and the time of a layer are fitted to published models that are
wholly in memory, and the sync is published; see ``docs/memory-simulator.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gptoss_mlx.errors import FitError

__all__ = ["Costs", "Disk", "check_range"]

Ints = npt.NDArray[np.int32]

READS_PER_EXPERT = 4
"""Contiguous pieces of an expert in a released or converted file."""


def check_range(what: str, value: float, least: float, most: float) -> None:
    """Refuse a figure that is out of its range, or is not a number.

    Raises:
        FitError: It is.
    """
    if not least <= value <= most:  # NaN is not, either
        raise FitError(f"{what} must be from {least:,g} to {most:,g} but is {value:,g}.")


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk that experts are read from.

    Attributes:
        bytes_per_s: Bytes per second with the queue full, as parallel reads reach.
        queue: Reads that are under way at once.
        latency_s: Seconds until the first byte of a read.
    """

    bytes_per_s: float
    queue: int = 16
    latency_s: float = 1e-4

    def __post_init__(self) -> None:
        """Refuse what no disk has.

        Raises:
            FitError: A figure is out of range.
        """
        check_range("The disk's bytes per second", self.bytes_per_s, 1e6, 1e12)
        check_range("The disk's queue", self.queue, 1, 1024)
        check_range("The disk's latency in seconds", self.latency_s, 0, 1)

    def read_s(self, experts: Ints, expert_bytes: int) -> npt.NDArray[np.float64]:
        """Return the seconds to read each number of experts, in one batch each."""
        rounds = -(-experts * READS_PER_EXPERT // self.queue)
        seconds = rounds * self.latency_s + experts * (expert_bytes / self.bytes_per_s)
        return np.asarray(seconds, np.float64)


@dataclass(frozen=True, slots=True)
class Costs:
    """What an implementation reaches on a Mac.

    Attributes:
        bandwidth_share: Share of the memory's bandwidth that decoding uses.
        layer_s: Seconds of a layer besides, to launch its kernels.
        sync_s: Seconds of a layer that misses experts, for the host to see the choice and
            for the GPU to start again.
    """

    bandwidth_share: float = 0.68
    layer_s: float = 5e-5
    sync_s: float = 3e-4

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            FitError: A figure is out of range.
        """
        check_range("The share of the bandwidth", self.bandwidth_share, 0.01, 1)
        check_range("The seconds of a layer", self.layer_s, 0, 1)
        check_range("The seconds of a sync", self.sync_s, 0, 1)
