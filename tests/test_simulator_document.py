"""docs/memory-simulator.md is true: its tables are what the simulator says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import recipe_named
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.device import Machine
from gptoss_mlx.fit.costs import Costs, Disk
from gptoss_mlx.fit.ladder import simulate_ladder
from gptoss_mlx.fit.machine import another_mac
from gptoss_mlx.fit.published import (
    RESIDENT,
    SHAPES,
    STREAMED,
    SYNC_RANGE_S,
    ResidentRun,
    StreamedRun,
    predict,
    resident_tokens_per_s,
)
from gptoss_mlx.fit.speed import HIT_RATES, SpeedFigures, streamed_tokens_per_s
from gptoss_mlx.fit.traces import load_trace
from gptoss_mlx.model.footprint import weights_of
from gptoss_mlx.model.plan import plan_of

DOCUMENT = Path(__file__).parents[1] / "docs" / "memory-simulator.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
ROWS = TEXT.splitlines()

# Mac, its memory's and its disk's bytes per second, model.
MACS = [
    ("M1, 16 GB", 68e9, 2.9e9, "20b Q8"),
    ("M2, 8 GB", 100e9, 2.9e9, "20b Q8"),
    ("M4, 16 GB", 120e9, 2.9e9, "20b Q8"),
    ("M4, 32 GB", 120e9, 2.9e9, "120b Q8"),
    ("M5, 32 GB", 153e9, 6.5e9, "120b Q8"),
    ("M4 Max, 36 GB", 410e9, 5.8e9, "120b Q8"),
    ("M4 Pro, 48 GB", 273e9, 5.8e9, "120b Q8"),
    ("M1 Max, 64 GB", 400e9, 5.8e9, "120b Q8"),
    ("M4 Max, 64 GB", 546e9, 5.8e9, "120b Q8"),
    ("M5 Max, 64 GB", 614e9, 6.5e9, "120b Q8"),
]


def planned_slots(mac: tuple[str, float, float, str]) -> int:
    """The experts of a layer that the plan keeps in memory, as the text says."""
    name, _, _, model = mac
    gib = int(name.split(", ")[1].split()[0])
    plan = plan_of(
        RELEASED[model.split()[0]],
        recipe_named("q8").packing,
        another_mac(gib << 30),
        context_tokens=4_096,
    )
    return plan.slots


def row(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def speed(tokens_per_s: float) -> str:
    """Three digits at most."""
    digits = 2 if tokens_per_s < 10 else 1
    return f"{tokens_per_s:.{digits}f}"


def percent(share: float) -> str:
    """A share, with a digit after the point where it has one."""
    return f"{100 * share:.3g} %"


def off(predicted: float, published: float) -> str:
    """How far the prediction is above the published speed."""
    percent = round(100 * (predicted / published - 1))
    return f"{percent:+,} %" if percent else "0 %"


def slow_to_fast(run: StreamedRun) -> str:
    """The speeds with the longest and the shortest published sync."""
    slow, fast = (
        predict(run, Costs(sync_s=sync_s)).tokens_per_s for sync_s in SYNC_RANGE_S[::-1]
    )
    return f"{speed(slow)} to {speed(fast)}"


@pytest.mark.parametrize("run", STREAMED, ids=lambda run: f"{run.source} {run.slots}")
def test_the_published_speeds_stand_beside_the_predicted_ones(run: StreamedRun) -> None:
    """Every cell of the row is computed."""
    found = predict(run)
    share = run.slots / SHAPES[run.model].experts

    assert (
        row(
            run.source,
            run.machine,
            f"{run.bandwidth / 1e9:g} / {run.disk / 1e9:g}",
            run.model,
            percent(share),
            f"{100 * found.hit_rate:.0f} %",
            f"{found.read_bytes / 1e6:,.0f}",
            speed(run.tokens_per_s),
            speed(found.tokens_per_s),
            off(found.tokens_per_s, run.tokens_per_s),
            slow_to_fast(run),
            run.assumed or "-",
        )
        in ROWS
    )


@pytest.mark.parametrize(
    "run", RESIDENT, ids=lambda run: f"{run.source} {run.machine} {run.model}"
)
def test_the_models_in_memory_are_listed_with_their_error(run: ResidentRun) -> None:
    """What the costs are fitted to, and what they are not."""
    found = resident_tokens_per_s(run)

    assert (
        row(
            run.source,
            run.machine,
            run.model,
            f"{run.token_bytes / 1e9:.2f}",
            speed(run.tokens_per_s),
            speed(found),
            off(found, run.tokens_per_s),
            "yes" if run.fitted else "no",
        )
        in ROWS
    )


@pytest.mark.parametrize("mac", MACS, ids=lambda mac: mac[0])
def test_the_macs_are_simulated(mac: tuple[str, float, float, str]) -> None:
    """Times of a token, and what a prompt reads."""
    name, bandwidth, disk, model = mac
    shape = SHAPES[model]
    slots = planned_slots(mac)
    found = predict(StreamedRun("", name, bandwidth, disk, model, slots, 1))
    times = (found.compute_s, found.sync_s, found.read_s)

    assert (
        row(
            name,
            f"{bandwidth / 1e9:g} / {disk / 1e9:g}",
            model,
            f"{slots} of {shape.experts}",
            " / ".join(f"{1e3 * seconds:.0f}" for seconds in times),
            speed(found.tokens_per_s),
            f"{found.prefill_read_s:.1f} s",
        )
        in ROWS
    )


@pytest.mark.parametrize("mac", MACS, ids=lambda mac: mac[0])
def test_the_estimate_of_a_plan_is_nearly_the_same(
    mac: tuple[str, float, float, str],
) -> None:
    """The same costs: only the read's latency and the drawn trace differ."""
    _, bandwidth, disk, model = mac
    size = model.split()[0]
    slots = planned_slots(mac)
    run = StreamedRun("", "", bandwidth, disk, model, slots, 1)
    weights = weights_of(RELEASED[size], recipe_named("q8").packing)

    estimate = streamed_tokens_per_s(
        RELEASED[size],
        weights,
        slots / SHAPES[model].experts,
        SpeedFigures(bandwidth, disk),
    )

    assert estimate == pytest.approx(predict(run).tokens_per_s, rel=0.03)


def test_the_costs_are_those_of_the_program() -> None:
    """The defaults, as the text gives them."""
    costs, disk = Costs(), Disk(1e9)

    assert f"{percent(costs.bandwidth_share)} of the specified bandwidth" in TEXT
    assert f"{1e6 * costs.layer_s:.0f} µs per layer" in TEXT
    assert f"{1e3 * costs.sync_s:g} ms in each layer" in TEXT
    assert f"{1e3 * disk.latency_s:g} ms for every {disk.queue} pieces" in TEXT


def test_the_published_hit_rates_are_those_that_are_drawn() -> None:
    """Shares and rates, as the text gives them."""
    shares = row("experts in memory", *(percent(share) for share, _ in HIT_RATES))
    rates = row("hit rate", *(percent(rate) for _, rate in HIT_RATES))

    assert shares in ROWS
    assert rates in ROWS


def test_the_effect_of_the_copy_is_as_said() -> None:
    """Without it, 120b would be predicted too fast, and no sync would fit both sizes."""
    run, of_20b = STREAMED[:2]
    copied = predict(run)
    plain = 1 / (copied.token_s - copied.copy_s)

    assert f"{1e3 * copied.copy_s:.0f} ms of its {1e3 * copied.token_s:.0f}" in TEXT
    assert f"{speed(plain)} tokens/s, {off(plain, run.tokens_per_s)}" in TEXT
    for sync_s in np.arange(0, 3e-3, 1e-5):
        runs = [replace(run, copies_chosen=False), of_20b]
        found = [predict(each, Costs(sync_s=sync_s)).tokens_per_s for each in runs]
        errors = [abs(a / b.tokens_per_s - 1) for a, b in zip(found, runs, strict=True)]
        assert max(errors) > 0.15, sync_s


def test_the_python_code_records_a_trace_that_can_be_simulated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the demo model in place of 20b."""
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    demo = open_demo(lambda line: None)
    monkeypatch.setattr("gptoss_mlx.store.resolve", lambda name: demo.folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompt.txt").write_text("What does the lease say? " * 20)
    (tmp_path / "answer.txt").write_text("The tenant pays for heating. " * 20)

    exec(code, {})  # noqa: S102 - it is our own document

    trace = load_trace(tmp_path / "routing.jsonl")
    assert trace.prompt_tokens > 50
    assert trace.tokens - trace.prompt_tokens > 50
    mac = Machine("Apple", "gpu", "bfloat16", 8 << 30, 5 << 30)
    steps = simulate_ladder(
        demo.config,
        lambda module, columns: demo.quantization_of(module),
        mac,
        trace,
        Disk(3e9),
        1e11,
        shares=(0.5, 1),
    )
    assert steps[0].simulation.hit_rate < 1 == steps[1].simulation.hit_rate


def test_the_error_of_the_model_whose_packing_is_not_published_is_as_said() -> None:
    """120b on the M2 Max, were it not quantized."""
    (run,) = (run for run in RESIDENT if (run.machine, run.layers) == ("M2 Max", 36))
    plain = resident_tokens_per_s(replace(run, token_bytes=5.00e9))

    assert f"in bf16 its error is {off(plain, run.tokens_per_s)}." in TEXT


def test_the_sync_of_a_max_is_as_said() -> None:
    """The published hit rates and resident speed, with 0.15 ms and 20 GB/s: within 5 %."""
    shape = SHAPES["gemma-4-26b 4-bit"]
    for hit_rate, tokens_per_s in ((0.89, 59.4), (0.67, 40.1), (0.45, 29.3)):
        read_s = shape.chosen_bytes * (1 - hit_rate) / 20e9
        token_s = 1 / 122.5 + shape.layers * 1.5e-4 + read_s

        assert 1 / token_s == pytest.approx(tokens_per_s, rel=0.05)
