from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gptoss_mlx.errors import FitError
from gptoss_mlx.fit.costs import Costs, Disk
from gptoss_mlx.fit.drawn_traces import draw_trace
from gptoss_mlx.fit.lru import StackDistances, stack_distances
from gptoss_mlx.fit.model_shape import ModelShape
from gptoss_mlx.fit.simulator import Simulation, simulate, slots_for

SHAPE = ModelShape(
    layers=6,
    experts=32,
    chosen=4,
    expert_bytes=10_000_000,
    token_bytes=600_000_000,
    resident_bytes=700_000_000,
)
DISK = Disk(5e9, queue=16, latency_s=1e-4)
COSTS = Costs(bandwidth_share=0.5, layer_s=1e-4, sync_s=3e-4)


def distances(tokens: int = 200, **changed: int) -> StackDistances:
    """Of a trace of that model, drawn with recency."""
    shape = {"layers": 6, "experts": 32, "chosen": 4, **changed}
    return stack_distances(draw_trace("recency", tokens=tokens, **shape))


def run(slots: int | list[int], disk: Disk = DISK, bandwidth: float = 100e9) -> Simulation:
    """Simulate that model."""
    return simulate(SHAPE, distances(), slots, disk, bandwidth, COSTS)


def test_each_time_is_what_the_figures_say() -> None:
    """Two tokens whose misses are known: computed by hand."""
    found = np.zeros((2, 6, 4), np.int32)
    found[0, 0] = [0, 5, 8, 31]  # with 8 slots two are missing
    found[1, 5] = [9, 9, 9, 9]  # and here four

    simulated = simulate(SHAPE, StackDistances(found, 32), 8, DISK, 100e9, COSTS)

    assert simulated.missed_experts == 3
    assert simulated.read_bytes == 30_000_000
    assert simulated.hit_rate == pytest.approx(1 - 6 / 48)
    # 600 MB and 24 experts at half of 100 GB/s, and six layers.
    assert simulated.compute_s == pytest.approx(0.84 / 50 + 6e-4)
    assert simulated.sync_s == pytest.approx(6 * 3e-4)
    # Eight and sixteen pieces are one round each.
    assert simulated.read_s == pytest.approx((2 * 1e-4 + 6 * 2e-3) / 2)
    assert simulated.copy_s == 0
    assert simulated.token_s == pytest.approx(0.0168 + 6e-4 + 18e-4 + 1e-4 + 6e-3)
    assert simulated.tokens_per_s == pytest.approx(1 / simulated.token_s)
    # 24 experts of six layers; 96 pieces are six rounds.
    assert simulated.prefill_read_bytes == 6 * 24 * 10_000_000
    assert simulated.prefill_read_s == pytest.approx(6 * (24 * 2e-3 + 6e-4))


def test_all_experts_in_memory_take_no_sync_and_no_read() -> None:
    """Then the speed is that of a model that is not streamed."""
    found = run(32)

    assert (found.sync_s, found.read_s, found.read_bytes) == (0, 0, 0)
    assert (found.hit_rate, found.prefill_read_bytes) == (1, 0)
    assert found.token_s == found.compute_s


def test_only_the_layers_that_are_not_wholly_in_memory_take_a_sync() -> None:
    """With the experts of two layers on the disk, these alone read."""
    found = run([32, 8, 32, 32, 8, 32])
    everywhere = run(8)

    assert found.sync_s == pytest.approx(2 * COSTS.sync_s)
    assert found.read_bytes < everywhere.read_bytes
    assert found.experts_bytes == (4 * 32 + 2 * 8) * 10_000_000
    # The rate of the streamed layers, not of all.
    assert found.hit_rate == pytest.approx(everywhere.hit_rate, abs=0.03)


def test_more_slots_are_never_slower() -> None:
    """Fewer misses, fewer bytes, more tokens."""
    steps = [run(slots) for slots in range(4, 33)]

    for less, more in pairwise(steps):
        assert more.hit_rate >= less.hit_rate
        assert more.read_bytes <= less.read_bytes
        assert more.tokens_per_s >= less.tokens_per_s
        assert more.prefill_read_s <= less.prefill_read_s


def test_a_faster_machine_is_faster() -> None:
    """Memory, disk, queue and latency each count."""
    base = run(8).tokens_per_s

    assert run(8, bandwidth=200e9).tokens_per_s > base
    assert run(8, replace(DISK, bytes_per_s=6e9)).tokens_per_s > base
    assert run(8, replace(DISK, queue=1)).tokens_per_s < base
    assert run(8, replace(DISK, latency_s=1e-3)).tokens_per_s < base


def test_copying_the_chosen_experts_reads_and_writes_them_once_more() -> None:
    """24 experts twice, at half of 100 GB/s."""
    found = simulate(SHAPE, distances(), 8, DISK, 100e9, COSTS, copies_chosen=True)

    assert found.copy_s == pytest.approx(2 * 0.24 / 50)
    assert found.token_s == pytest.approx(run(8).token_s + found.copy_s)


@pytest.mark.parametrize(
    ("share", "slots"), [(0.125, 4), (0.3, 9), (0.29 + 0.01, 9), (0.75, 24), (1.0, 32)]
)
def test_a_share_is_whole_experts_of_each_layer(share: float, slots: int) -> None:
    """Rounded down, but not by what a sum of floats lacks."""
    assert slots_for(SHAPE, share) == slots


@pytest.mark.parametrize("share", [0.1, 0.0, -1.0, 1.1, math.nan, math.inf])
def test_a_share_that_no_token_could_use_is_refused(share: float) -> None:
    """The message has the least share, and why."""
    with pytest.raises(FitError) as caught:
        slots_for(SHAPE, share)

    assert str(caught.value) == (
        "The share of experts in memory must be from 12.5 % to 100 % "
        f"but is {100 * share:.4g} %: a token uses 4 of 32 in each layer."
    )


REFUSED: list[tuple[Callable[[], object], str]] = [
    (
        lambda: run(3),
        "The experts of a layer in memory must be from 4 to 32 but is 3.",
    ),
    (
        lambda: run([32] * 5 + [33]),
        "The experts of a layer in memory must be from 4 to 32 but is 33.",
    ),
    (lambda: run([8, 8]), "6 layers must have slots but 2 have."),
    (
        lambda: run(8, bandwidth=0),
        "The memory's bytes per second must be from 1e+09 to 1e+14 but is 0.",
    ),
    (
        lambda: simulate(SHAPE, distances(layers=5), 8, DISK, 1e11),
        "The trace must have 6 layers of 32 experts, 4 for each token, as the model has, "
        "but has 5 of 32, 4 for each.",
    ),
    (
        lambda: simulate(SHAPE, StackDistances(distances().counts[:0], 32), 8, DISK, 1e11),
        "The trace has no tokens after its prompt.",
    ),
    (
        lambda: simulate(SHAPE, distances(experts=64), 8, DISK, 1e11),
        "The trace must have 6 layers of 32 experts, 4 for each token, as the model has, "
        "but has 6 of 64, 4 for each.",
    ),
    (
        lambda: Disk(0),
        "The disk's bytes per second must be from 1e+06 to 1e+12 but is 0.",
    ),
    (
        lambda: Disk(math.nan),
        "The disk's bytes per second must be from 1e+06 to 1e+12 but is nan.",
    ),
    (lambda: Disk(1e9, queue=0), "The disk's queue must be from 1 to 1,024 but is 0."),
    (
        lambda: Disk(1e9, latency_s=-1),
        "The disk's latency in seconds must be from 0 to 1 but is -1.",
    ),
    (
        lambda: Costs(bandwidth_share=2),
        "The share of the bandwidth must be from 0.01 to 1 but is 2.",
    ),
]


@pytest.mark.parametrize(("attempt", "message"), REFUSED)
def test_figures_that_cannot_be_are_refused(
    attempt: Callable[[], object], message: str
) -> None:
    """The message has the range and the value."""
    with pytest.raises(FitError) as caught:
        attempt()

    assert str(caught.value) == message
