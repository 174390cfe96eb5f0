"""Simulates decoding with some of the experts in memory and the others on a disk.

A token takes the sum of four times, since nothing of it overlaps: a layer's experts are
known only when the layer before is computed.

* compute: the bytes of the weights and the cache through the memory
* copy: of the chosen experts into one array, where an implementation needs that
* sync: in each layer that misses experts, the host waits for the router's choice
* read: the missing experts from the disk

Source of the model and of the sync: the reports of mlx-lm #1438 and #1588, boyle 0.2.1,
bigrig 0.9.1 and oMLX #2595, which agree that no prefetch has hidden any of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gptoss_mlx.errors import FitError
from gptoss_mlx.fit.costs import Costs, Disk, check_range
from gptoss_mlx.fit.lru import StackDistances
from gptoss_mlx.fit.model_shape import ModelShape
from gptoss_mlx.fit.traces import Trace

__all__ = ["Simulation", "check_trace", "simulate", "slots_for"]


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a simulation found, per decoded token where nothing else is said.

    Attributes:
        slots: Experts in memory, per layer.
        experts_bytes: Bytes of all these.
        hit_rate: Share of the chosen experts that were in memory, in the layers that are
            not wholly resident; 1 if all are.
        missed_experts: Experts read from the disk.
        read_bytes: Their bytes.
        compute_s: Seconds for the weights and the cache.
        copy_s: Seconds to copy the chosen experts.
        sync_s: Seconds of waiting for the routers.
        read_s: Seconds of reading.
        prefill_read_bytes: Bytes that a prompt reads once, if it uses every expert.
        prefill_read_s: Seconds for these.
    """

    slots: tuple[int, ...]
    experts_bytes: int
    hit_rate: float
    missed_experts: float
    read_bytes: float
    compute_s: float
    copy_s: float
    sync_s: float
    read_s: float
    prefill_read_bytes: int
    prefill_read_s: float

    @property
    def token_s(self) -> float:
        """Seconds of a token."""
        return self.compute_s + self.copy_s + self.sync_s + self.read_s

    @property
    def tokens_per_s(self) -> float:
        """Tokens decoded per second."""
        return 1 / self.token_s


def simulate(
    shape: ModelShape,
    distances: StackDistances,
    slots: int | Sequence[int],
    disk: Disk,
    bandwidth: float,
    costs: Costs = Costs(),
    *,
    copies_chosen: bool = False,
) -> Simulation:
    """Simulate decoding with an exact LRU cache per layer.

    Args:
        shape: The model.
        distances: From ``stack_distances``, of a trace with the model's layers.
        slots: Experts in memory per layer; a sequence names each layer's. A layer with all
            of them takes no sync.
        disk: The disk with the others.
        bandwidth: The memory's bytes per second, as specified.
        costs: What the implementation reaches.
        copies_chosen: Whether the implementation copies a token's experts into one array
            first, which reads and writes them once more.

    Raises:
        FitError: The trace is not of such a model, a layer has too few slots for a token,
            or a figure is out of range.
    """
    tokens, layers, chosen = distances.counts.shape
    _check_shape(shape, layers, distances.experts, chosen)
    if not tokens:
        raise FitError("The trace has no tokens after its prompt.")
    check_range("The memory's bytes per second", bandwidth, 1e9, 1e14)
    held = (slots,) * layers if isinstance(slots, int) else tuple(slots)
    if len(held) != layers:
        raise FitError(f"{layers} layers must have slots but {len(held)} have.")
    for each in held:
        check_range("The experts of a layer in memory", each, chosen, shape.experts)
    streamed = np.asarray(held) < shape.experts  # (layers,)
    missed = (distances.counts >= np.asarray(held)[None, :, None]) & streamed[None, :, None]
    misses = missed.sum(axis=-1, dtype=np.int32)  # (tokens, layers)
    streams = int(streamed.sum())
    per_token = float(misses.sum() / tokens)
    reached = bandwidth * costs.bandwidth_share
    missing = np.asarray([shape.experts - each for each in held], np.int32)
    return Simulation(
        slots=held,
        experts_bytes=sum(held) * shape.expert_bytes,
        hit_rate=1 - per_token / (streams * chosen) if streams else 1.0,
        missed_experts=per_token,
        read_bytes=per_token * shape.expert_bytes,
        compute_s=(shape.token_bytes + shape.chosen_bytes) / reached
        + layers * costs.layer_s,
        copy_s=2 * shape.chosen_bytes / reached if copies_chosen else 0.0,
        sync_s=streams * costs.sync_s,
        read_s=float(disk.read_s(misses, shape.expert_bytes).sum() / tokens),
        prefill_read_bytes=int(missing.sum()) * shape.expert_bytes,
        prefill_read_s=float(disk.read_s(missing, shape.expert_bytes).sum()),
    )


def check_trace(shape: ModelShape, trace: Trace) -> None:
    """Refuse a trace of another model, whose distances may take far more memory.

    Raises:
        FitError: It is of another.
    """
    _, layers, chosen = trace.chosen.shape
    _check_shape(shape, layers, trace.experts, chosen)


def _check_shape(shape: ModelShape, layers: int, experts: int, chosen: int) -> None:
    if (layers, experts, chosen) != (shape.layers, shape.experts, shape.chosen):
        raise FitError(
            f"The trace must have {shape.layers} layers of {shape.experts} experts, "
            f"{shape.chosen} for each token, as the model has, but has {layers} of "
            f"{experts}, {chosen} for each."
        )


def slots_for(shape: ModelShape, share: float) -> int:
    """Return how many experts of each layer a share of them is, rounded down.

    Raises:
        FitError: It is fewer than a token uses, or more than there are.
    """
    slots = int(share * shape.experts + 1e-9) if 0 <= share <= 1 else 0
    if slots < shape.chosen:
        least = 100 * shape.chosen / shape.experts
        raise FitError(
            f"The share of experts in memory must be from {least:.4g} % to 100 % "
            f"but is {100 * share:.4g} %: a token uses {shape.chosen} of "
            f"{shape.experts} in each layer."
        )
    return slots
