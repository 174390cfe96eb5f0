"""Estimates how fast a model writes whose experts are streamed from the disk.

A token takes the time to read its weights from memory, to wait for the router's choice in
each layer, and to read the chosen experts that are not resident from the disk. These are
estimates by a formula; ``simulator`` counts the same token by token, and
``docs/memory-simulator.md`` compares that with published measurements.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.fit.bandwidth import bandwidth_of, ssd_bandwidth_of
from gptoss_mlx.fit.costs import Costs
from gptoss_mlx.model.footprint import Weights, expert_bytes, token_weights_bytes

__all__ = ["SpeedFigures", "figures_for", "hit_rate", "streamed_tokens_per_s"]

# An M4's, for a machine whose figures are unknown.
USUAL_BANDWIDTH, USUAL_SSD = 120e9, 2.9e9

# The resident share of a layer's experts, and the share of choices found there, if the
# least recently used one goes: 120b while it writes. The last but one are interpolated.
HIT_RATES = (
    (0.0, 0.0),
    (0.125, 0.475),
    (0.25, 0.695),
    (0.30, 0.85),
    (0.50, 0.91),
    (0.75, 0.97),
    (1.0, 1.0),
)


@dataclass(frozen=True, slots=True)
class SpeedFigures:
    """What a machine reads per second, and waits.

    Attributes:
        memory_bytes_per_s: The chip's memory bandwidth.
        disk_bytes_per_s: Reads from the SSD.
        costs: What the program reaches.
        memory_is_assumed: Whether the machine's bandwidth is unknown, and an M4's taken.
        disk_is_assumed: The same for its SSD.
    """

    memory_bytes_per_s: float = USUAL_BANDWIDTH
    disk_bytes_per_s: float = USUAL_SSD
    costs: Costs = Costs()
    memory_is_assumed: bool = False
    disk_is_assumed: bool = False


def figures_for(
    device: str, *, bandwidth: float | None = None, ssd: float | None = None
) -> SpeedFigures:
    """Return a machine's figures, with an M4's for what is unknown.

    Args:
        device: MLX's name, e.g. ``Apple M4 Pro``.
        bandwidth: Its memory's bytes per second. None: its chip's.
        ssd: Its SSD's bytes per second. None: those of SSDs beside its chip.
    """
    memory = bandwidth_of(device) if bandwidth is None else bandwidth
    disk = ssd_bandwidth_of(device) if ssd is None else ssd
    return SpeedFigures(
        USUAL_BANDWIDTH if memory is None else memory,
        USUAL_SSD if disk is None else disk,
        memory_is_assumed=memory is None,
        disk_is_assumed=disk is None,
    )


def hit_rate(resident_fraction: float) -> float:
    """Estimate the share of an answer's chosen experts that are resident.

    Args:
        resident_fraction: The share of each layer's experts that is, 0 to 1.
    """
    place = bisect_right(HIT_RATES, (resident_fraction, 1.0))
    if place == len(HIT_RATES):
        return 1.0
    (low, hits), (high, more) = HIT_RATES[place - 1], HIT_RATES[place]
    return hits + (more - hits) * (resident_fraction - low) / (high - low)


def streamed_tokens_per_s(
    config: ModelConfig,
    weights: Weights,
    resident_fraction: float,
    figures: SpeedFigures = SpeedFigures(),
) -> float:
    """Estimate the tokens per second of an answer, with few tokens in the cache.

    Args:
        config: The model's shape.
        weights: Its weights.
        resident_fraction: The share of each layer's experts that is resident, 0 to 1.
        figures: The machine's.
    """
    costs, layers = figures.costs, config.num_hidden_layers
    read_s = layers * costs.layer_s + token_weights_bytes(config, weights) / (
        figures.memory_bytes_per_s * costs.bandwidth_share
    )
    if resident_fraction >= 1:
        return 1 / read_s
    missing = layers * config.num_experts_per_tok * (1 - hit_rate(resident_fraction))
    disk_s = missing * expert_bytes(config) / figures.disk_bytes_per_s
    return 1 / (read_s + layers * costs.sync_s + disk_s)
