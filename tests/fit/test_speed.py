from __future__ import annotations

import pytest

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.fit.bandwidth import ssd_bandwidth_of
from gptoss_mlx.fit.costs import Costs
from gptoss_mlx.fit.speed import (
    SpeedFigures,
    figures_for,
    hit_rate,
    streamed_tokens_per_s,
)
from gptoss_mlx.model.footprint import weights_of


def rate(size: str, resident: float, figures: SpeedFigures) -> float:
    """Tokens per second of a released model by q8."""
    config = RELEASED[size]
    weights = weights_of(config, RECIPES["q8"].packing)
    return streamed_tokens_per_s(config, weights, resident, figures)


@pytest.mark.parametrize(
    ("resident", "hits"), [(0, 0), (0.3, 0.85), (0.4, 0.88), (0.75, 0.97), (1, 1)]
)
def test_hits_are_interpolated(resident: float, hits: float) -> None:
    """Between the shares that are known."""
    assert hit_rate(resident) == pytest.approx(hits)


def test_hits_never_fall() -> None:
    """More experts in memory never hit less."""
    rates = [hit_rate(share / 100) for share in range(101)]

    assert rates == sorted(rates)
    assert all(0 <= one <= 1 for one in rates)


@pytest.mark.parametrize(
    ("size", "resident", "device", "low", "high"),
    [
        ("120b", 0.30, "Apple M4", 6.0, 6.5),
        ("120b", 0.86, "Apple M4 Max", 29, 42),
        ("20b", 0.81, "Apple M4", 18, 22),
        ("20b", 0.79, "Apple M1", 12, 14),
    ],
)
def test_the_estimates_that_were_worked_out_by_hand(
    size: str, resident: float, device: str, low: float, high: float
) -> None:
    """With the figures of the chip."""
    assert low <= rate(size, resident, figures_for(device)) <= high


def test_a_published_run() -> None:
    """120b on 32 GB with 30 % of its experts: 7.03 tokens/s, of 35, 57 and 50 ms."""
    costs = Costs(3.55 / 0.035 / 120, layer_s=0, sync_s=57e-3 / 36)
    figures = SpeedFigures(120e9, 5.8e9, costs)

    assert rate("120b", 0.30, figures) == pytest.approx(7.03, rel=0.02)


def test_what_is_whole_in_memory_waits_for_nothing() -> None:
    """It reads its weights, and that is all."""
    figures = SpeedFigures(100e9, 1e9, Costs(0.5, layer_s=0))

    assert rate("20b", 1.0, figures) == pytest.approx(50 / 2.57, rel=0.01)


def test_an_unknown_machine_is_taken_for_an_m4() -> None:
    """The figures are those of the estimate's default."""
    assert figures_for("Apple M4") == SpeedFigures()
    assert figures_for("AMD EPYC") == SpeedFigures(
        memory_is_assumed=True, disk_is_assumed=True
    )


def test_what_is_named_is_taken() -> None:
    """Beside what is known of the chip, or assumed."""
    assert figures_for("Apple M4 Pro", ssd=7e9) == SpeedFigures(273e9, 7e9)
    assert figures_for("another Mac", bandwidth=4e11) == SpeedFigures(
        4e11, 2.9e9, disk_is_assumed=True
    )
    assert ssd_bandwidth_of("AMD EPYC") is None
