"""Published speeds of Macs, beside what the simulator predicts for them.

The costs of the simulator come from the first table, of models that are wholly in memory,
and from the published range of a sync. Nothing is fitted to the second table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import recipe_named
from gptoss_mlx.fit.costs import Costs, Disk
from gptoss_mlx.fit.drawn_traces import draw_trace
from gptoss_mlx.fit.lru import StackDistances, stack_distances
from gptoss_mlx.fit.model_shape import ModelShape, shape_of
from gptoss_mlx.fit.simulator import Simulation, simulate

__all__ = [
    "RESIDENT",
    "SHAPES",
    "STREAMED",
    "SYNC_RANGE_S",
    "ResidentRun",
    "StreamedRun",
    "predict",
    "resident_tokens_per_s",
]

SYNC_RANGE_S = (2e-4, 5e-4)
"""Seconds of a layer's sync in good code, as several projects report it."""

TRACE_TOKENS = 600


@dataclass(frozen=True, slots=True)
class ResidentRun:
    """A published speed with the whole model in memory.

    Attributes:
        source: Who published it.
        machine: Chip.
        bandwidth: Its memory's bytes per second.
        model: Model, and how it is quantized.
        token_bytes: Bytes that a token reads, counted from that.
        layers: Layers of the model.
        tokens_per_s: The published speed; the middle of a range.
        fitted: Whether the costs are fitted to it. Ultras are not: two dies, where
            launches take most of a token.
    """

    source: str
    machine: str
    bandwidth: float
    model: str
    token_bytes: float
    layers: int
    tokens_per_s: float
    fitted: bool = True


RESIDENT: Sequence[ResidentRun] = (
    ResidentRun("mlx-lm #858, llama.cpp", "M1 Pro", 200e9, "20b Q8", 2.93e9, 24, 37.05),
    ResidentRun("Rapid-MLX", "M2 Max", 400e9, "20b Q8", 2.57e9, 24, 86),
    ResidentRun("MLX", "M2 Max", 400e9, "120b Q8", 3.55e9, 36, 43.9),
    ResidentRun("Ollama", "M4", 120e9, "20b bf16", 3.71e9, 24, 22.5),
    ResidentRun("Rapid-MLX", "M4 Pro", 273e9, "20b Q8", 2.57e9, 24, 73),
    ResidentRun("MLX", "M4 Pro", 273e9, "20b Q4", 1.96e9, 24, 77),
    ResidentRun("llama.cpp", "M4 Pro", 273e9, "20b Q8", 2.57e9, 24, 66.5),
    ResidentRun("mlx-lm", "M4 Max 32 cores", 410e9, "20b Q4", 1.96e9, 24, 122),
    ResidentRun("MLX", "M4 Max 40 cores", 546e9, "20b all 4-bit", 2.04e9, 24, 148),
    ResidentRun("MLX", "M4 Max 40 cores", 546e9, "120b Q8", 3.55e9, 36, 74),
    ResidentRun("mlxcel", "M5 Max", 614e9, "20b all 4-bit", 2.04e9, 24, 172),
    ResidentRun("mlxcel", "M5 Max", 614e9, "120b all 4-bit", 2.90e9, 36, 114),
    ResidentRun("Ollama", "M5 Max", 614e9, "20b bf16", 3.71e9, 24, 101),
    ResidentRun("Rapid-MLX", "M3 Ultra", 819e9, "20b Q8", 2.57e9, 24, 123.5, False),
    ResidentRun("LM Studio", "M3 Ultra", 819e9, "120b Q8", 3.55e9, 36, 60, False),
    ResidentRun("mlxcel", "M1 Ultra", 800e9, "20b all 4-bit", 2.04e9, 24, 91.7, False),
    ResidentRun("mlxcel", "M1 Ultra", 800e9, "120b all 4-bit", 2.90e9, 36, 61.3, False),
)

_Q8 = recipe_named("q8").packing

SHAPES: Mapping[str, ModelShape] = {
    "20b Q8": shape_of(RELEASED["20b"], _Q8),
    "120b Q8": shape_of(RELEASED["120b"], _Q8),
    # 14.20 GB in memory with all experts, 7.78 GB with half of them: oMLX #2595.
    "gemma-4-26b 4-bit": ModelShape(
        layers=30,
        experts=128,
        chosen=8,
        expert_bytes=3_344_000,
        token_bytes=1_360_000_000,
        resident_bytes=1_360_000_000,
    ),
    # 4096 wide, experts of 1536, 94 layers, 4.5 bits per value.
    "Qwen3-235B 4-bit": ModelShape(
        layers=94,
        experts=128,
        chosen=8,
        expert_bytes=10_617_000,
        token_bytes=4_120_000_000,
        resident_bytes=4_470_000_000,
    ),
}


@dataclass(frozen=True, slots=True)
class StreamedRun:
    """A published speed with experts on the disk.

    Attributes:
        source: Who published it.
        machine: Chip and memory.
        bandwidth: Its memory's bytes per second.
        disk: Bytes per second of its disk.
        model: A key of ``SHAPES``.
        slots: Experts of each layer in memory.
        tokens_per_s: The published speed; the middle of a range.
        copies_chosen: Whether the program copies a token's experts into one array.
        assumed: What of this was not published with it, in a few words.
    """

    source: str
    machine: str
    bandwidth: float
    disk: float
    model: str
    slots: int
    tokens_per_s: float
    copies_chosen: bool = False
    assumed: str = ""


_M4_DISK = "disk: an M4's"
_FAST_DISK = "disk: the fastest published"

STREAMED: Sequence[StreamedRun] = (
    # 30 % resident. #1588 keeps an array per expert in a dictionary, and its max_stack_size
    # bounds what is stacked for a product. A reply in the thread names the chip.
    StreamedRun(
        source="mlx-lm #1438",
        machine="M5, 32 GB",
        bandwidth=153e9,
        disk=5.8e9,
        model="120b Q8",
        slots=38,
        tokens_per_s=7.03,
        copies_chosen=True,
        assumed="the copy",
    ),
    # A peak of 9.8 GB less 2.2 GB for other weights, transients and MLX is 75 % of the
    # experts. Each expert is multiplied from its own array.
    StreamedRun(
        source="mlx-vlm 0.7.10",
        machine="M4 mini, 16 GB",
        bandwidth=120e9,
        disk=2.9e9,
        model="20b Q8",
        slots=24,
        tokens_per_s=20.3,
        assumed=_M4_DISK,
    ),
    StreamedRun(
        source="mlx-lm #1438",
        machine="M5 Pro, 48 GB",
        bandwidth=307e9,
        disk=5.8e9,
        model="120b Q8",
        slots=38,
        tokens_per_s=8.8,
        copies_chosen=True,
        assumed="the copy; disk: as the M5's",
    ),
    StreamedRun(
        source="bigrig 0.9.1",
        machine="M4",
        bandwidth=120e9,
        disk=2.9e9,
        model="120b Q8",
        slots=5,
        tokens_per_s=1.0,
        assumed=_M4_DISK,
    ),
    # It puts the arrays of a layer together again where an expert is missing, by its own
    # profile 59 to 70 % of a token. That is not simulated.
    StreamedRun(
        source="nunspark 0.13",
        machine="M1 Max, 64 GB",
        bandwidth=400e9,
        disk=5.8e9,
        model="120b Q8",
        slots=106,
        tokens_per_s=1.8,
        copies_chosen=True,
        assumed="the copy; share: what fits; disk: as the M5's",
    ),
    # Half, a quarter and an eighth of the experts; its disk's files were in memory.
    *(
        StreamedRun(
            source="oMLX #2595",
            machine="M5 Max",
            bandwidth=614e9,
            disk=10.6e9,
            model="gemma-4-26b 4-bit",
            slots=slots,
            tokens_per_s=tokens_per_s,
            assumed=f"chip: Max; {_FAST_DISK}",
        )
        for slots, tokens_per_s in ((64, 59.4), (32, 40.1), (16, 29.3))
    ),
    # 70 and 90 GB less 5 GB for the other weights.
    *(
        StreamedRun(
            source="boyle 0.2.1",
            machine="M5 Max",
            bandwidth=614e9,
            disk=10.6e9,
            model="Qwen3-235B 4-bit",
            slots=slots,
            tokens_per_s=tokens_per_s,
            assumed=_FAST_DISK,
        )
        for slots, tokens_per_s in ((65, 11.7), (85, 15.5))
    ),
)


def resident_tokens_per_s(run: ResidentRun, costs: Costs = Costs()) -> float:
    """Predict the speed of a model that is wholly in memory."""
    reached = run.bandwidth * costs.bandwidth_share
    return 1 / (run.token_bytes / reached + run.layers * costs.layer_s)


def predict(run: StreamedRun, costs: Costs = Costs()) -> Simulation:
    """Simulate a published run with a trace that is drawn with recency."""
    shape = SHAPES[run.model]
    return simulate(
        shape,
        _drawn(shape),
        run.slots,
        Disk(run.disk),
        run.bandwidth,
        costs,
        copies_chosen=run.copies_chosen,
    )


@cache
def _drawn(shape: ModelShape) -> StackDistances:
    return stack_distances(
        draw_trace(
            "recency",
            layers=shape.layers,
            experts=shape.experts,
            chosen=shape.chosen,
            tokens=TRACE_TOKENS,
        )
    )
