from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import recipe_named
from gptoss_mlx.errors import FitError
from gptoss_mlx.fit.costs import Disk
from gptoss_mlx.fit.drawn_traces import draw_trace
from gptoss_mlx.fit.ladder import Step, simulate_ladder
from gptoss_mlx.fit.machine import another_mac
from gptoss_mlx.fit.traces import Trace
from gptoss_mlx.model.plan import plan_of

GB, GIB = 10**9, 1 << 30
CONFIG, PACKING = RELEASED["20b"], recipe_named("q8").packing
TYPES = CONFIG.layer_types[:2]
TRACE = draw_trace("recency", layers=24, experts=32, chosen=4, tokens=50)


def ladder(limit: float, *shares: float) -> list[Step]:
    """20b on a Mac of 16 GB."""
    mac = another_mac(16 * GB, int(limit * GIB))
    return simulate_ladder(CONFIG, PACKING, mac, TRACE, Disk(3e9), 120e9, shares=shares)


def test_all_experts_in_memory_need_what_the_model_needs() -> None:
    """As it fits with the smaller settings, too."""
    for limit in (10.67, 12.0, 16.0):
        mac = another_mac(16 * GB, int(limit * GIB))
        (whole,) = ladder(limit, 1)

        footprint = plan_of(CONFIG, PACKING, mac, context_tokens=4_096).footprint
        assert whole.needs_bytes == footprint.total_bytes
        assert whole.fits is footprint.fits


@pytest.mark.parametrize("limit", [5.33, 8.0, 10.67, 11.0])
def test_as_many_experts_fit_as_are_planned(limit: float) -> None:
    """`fit --simulate` agrees with `fit`: one expert more does not fit."""
    plan = plan_of(
        CONFIG, PACKING, another_mac(16 * GB, int(limit * GIB)), context_tokens=4_096
    )
    planned, more = ladder(limit, plan.slots / 32, (plan.slots + 1) / 32)

    assert 4 <= plan.slots < 31
    assert planned.simulation.slots[0] == plan.slots
    assert planned.needs_bytes == plan.needed_bytes(4_096)
    assert (planned.fits, more.fits) == (True, False)
    assert more.needs_bytes - planned.needs_bytes == 24 * 13_219_200


def test_without_shares_there_are_those_that_the_model_has() -> None:
    """From the experts of a token on, each number of experts once."""
    slots = [step.simulation.slots[0] for step in ladder(16)]
    assert slots == [4, 8, 9, 12, 16, 19, 22, 25, 28, 32]

    few = replace(CONFIG, num_local_experts=5, num_hidden_layers=2, layer_types=TYPES)
    trace = draw_trace("flat", layers=2, experts=5, chosen=4, tokens=5)
    mac = another_mac(16 * GB)
    steps = simulate_ladder(few, PACKING, mac, trace, Disk(3e9), 120e9)
    assert [step.simulation.slots[0] for step in steps] == [4, 5]


def test_a_trace_of_another_model_is_refused_before_it_takes_memory() -> None:
    """Distances of 1,000 layers of 10,000 experts would take half a gigabyte."""
    large = Trace(np.tile(np.arange(40, dtype=np.int32), (1, 1_000, 1)), 10_000)

    tracemalloc.start()
    try:
        with pytest.raises(FitError, match=r"but has 1000 of 10000, 40 for each"):
            simulate_ladder(CONFIG, PACKING, another_mac(16 * GB), large, Disk(3e9), 1e11)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_a_step_fits_up_to_the_limit() -> None:
    """A quarter of the experts fits 8 GiB, all of them do not; 16 GiB hold them."""
    assert [step.fits for step in ladder(8, 0.25, 1)] == [True, False]
    assert [step.fits for step in ladder(16, 0.25, 1)] == [True, True]


def test_a_share_that_is_too_small_is_refused() -> None:
    """A token uses four experts of a layer."""
    with pytest.raises(FitError, match=r"must be from 12\.5 % to 100 % but is 10 %"):
        ladder(10.67, 0.1)
