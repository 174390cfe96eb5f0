"""Simulates a model on a Mac, step by step from few experts in memory to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.device import Machine
from gptoss_mlx.fit.costs import Costs, Disk
from gptoss_mlx.fit.lru import stack_distances
from gptoss_mlx.fit.model_shape import ModelShape, shape_of
from gptoss_mlx.fit.simulator import Simulation, check_trace, simulate, slots_for
from gptoss_mlx.fit.traces import Trace
from gptoss_mlx.model.footprint import QuantizationOf
from gptoss_mlx.model.plan import Plan, plan_of

__all__ = ["SHARES", "Step", "simulate_ladder"]

SHARES: Sequence[float] = (0.125, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the experts in memory, where none are asked for, as far as a model has them."""


@dataclass(frozen=True, slots=True)
class Step:
    """A share of the experts in memory, and what comes of it.

    Attributes:
        needs_bytes: Memory for the model with a conversation, as it is planned.
        fits: Whether a program may use that much.
        simulation: The speed.
    """

    needs_bytes: int
    fits: bool
    simulation: Simulation


def simulate_ladder(
    config: ModelConfig,
    quantization_of: QuantizationOf,
    machine: Machine,
    trace: Trace,
    disk: Disk,
    bandwidth: float,
    costs: Costs = Costs(),
    *,
    shares: Sequence[float] = (),
    context_tokens: int = 4_096,
) -> list[Step]:
    """Simulate each share of the experts in memory.

    Args:
        config: The model's shape, as released.
        quantization_of: The recipe's function.
        machine: The Mac.
        trace: The routing.
        disk: The Mac's disk.
        bandwidth: The memory's bytes per second, as specified.
        costs: What the program reaches.
        shares: From 0 to 1. Each is rounded down to whole experts of a layer. Empty: the
            least that a token needs, and those of ``SHARES`` above it.
        context_tokens: Tokens of prompt and answer together.

    Raises:
        FitError: As in ``simulate``; or a share is less than a token uses.
    """
    shape = shape_of(
        config,
        quantization_of,
        context_tokens=context_tokens,
        value_bytes=machine.value_bytes,
    )
    plan = plan_of(config, quantization_of, machine, context_tokens=context_tokens)
    check_trace(shape, trace)
    counts = [slots_for(shape, share) for share in shares] or _usual_slots(shape)
    distances = stack_distances(trace)
    steps = []
    for slots in counts:
        simulation = simulate(shape, distances, slots, disk, bandwidth, costs)
        needs = _needed_bytes(plan, slots)
        steps.append(Step(needs, needs <= machine.limit_bytes, simulation))
    return steps


def _usual_slots(shape: ModelShape) -> list[int]:
    """Return the experts of each layer where no share is asked for, each number once."""
    least = shape.chosen / shape.experts
    shares = [least, *(share for share in SHARES if share > least)]
    return list(dict.fromkeys(slots_for(shape, share) for share in shares))


def _needed_bytes(plan: Plan, slots: int) -> int:
    whole = plan.footprint
    if slots == plan.config.num_local_experts:
        return whole.total_bytes
    return replace(plan, slots=slots).needed_bytes(whole.context_tokens)
