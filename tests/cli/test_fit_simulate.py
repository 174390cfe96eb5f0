from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gptoss_mlx.cli import fit_simulate
from gptoss_mlx.cli.fit_simulate import run_simulation
from gptoss_mlx.errors import FitError, GptOssError, TraceError
from gptoss_mlx.fit.drawn_traces import draw_trace
from gptoss_mlx.fit.machine import another_mac
from gptoss_mlx.fit.speed import SpeedFigures, figures_for
from gptoss_mlx.fit.traces import Trace, save_trace
from gptoss_mlx.model.amounts import parse_share

GIB = 1 << 30
MAC = another_mac(16 * GIB, int(10.67 * GIB))
M4_16GB: dict[str, Any] = {"model": "20b", "machine": MAC, "figures": SpeedFigures()}


@pytest.fixture(autouse=True)
def _short_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty tokens are enough to print."""
    monkeypatch.setattr(fit_simulate, "DRAWN_TOKENS", 50)


def printed(capsys: pytest.CaptureFixture[str], **given: Any) -> list[str]:
    """The lines of a simulation on a Mac of 16 GB."""
    run_simulation(**{**M4_16GB, **given})
    return capsys.readouterr().out.splitlines()


def test_the_table_names_the_mac_and_has_a_line_for_each_share(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From few experts to all; the last one is not streamed."""
    lines = printed(capsys, model="20b")

    assert lines[0] == (
        "20b q8: memory 120 GB/s, a program may use 11.5 of 17.2 GB, disk 2.9 GB/s, "
        "routing drawn with recency."
    )
    assert lines[1].split("  ")[0].strip() == "in memory"
    shares = [line.split()[0] for line in lines[2:-1]]
    assert (shares[0], shares[-1]) == ("12%", "100%")
    assert len({len(line) for line in lines[1:-1]}) == 1  # right-aligned
    assert lines[-1] == "Simulated, not measured: see docs/memory-simulator.md."


def test_only_the_shares_that_are_named_are_simulated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is whole experts of a layer."""
    lines = printed(capsys, model="20b", resident=(0.5, 0.81))

    assert [line.split()[:3] for line in lines[2:-1]] == [
        ["50%", "16", "a"],
        ["78%", "25", "a"],
    ]


def test_json_has_the_figures_and_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    """In bytes and seconds, for a script."""
    given = {**M4_16GB, "model": "gpt-oss-120b-exact", "resident": (0.3,)}

    run_simulation(**given, as_json=True)
    found = json.loads(capsys.readouterr().out)

    assert found["model"] == "120b exact"
    assert found["limit_bytes"] == MAC.limit_bytes
    assert found["bandwidth_bytes_per_s"] == 120e9
    (step,) = found["steps"]
    assert step["slots_per_layer"] == 38
    assert step["prefill_read_bytes"] == 36 * 90 * 13_219_200
    seconds = step["compute_s"] + step["sync_s"] + step["read_s"]
    assert step["tokens_per_s"] == pytest.approx(1 / seconds)
    assert not step["fits"]


def test_a_recorded_trace_is_simulated(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A text that uses the same experts again and again reads none."""
    chosen = np.tile(np.arange(10, 14, dtype=np.int32), (20, 24, 1))
    save_trace(Trace(chosen, experts=32, prompt_tokens=1), tmp_path / "trace.jsonl")

    lines = printed(capsys, trace=tmp_path / "trace.jsonl", resident=(0.125,))

    assert "routing as recorded" in lines[0]
    assert ["100.0%", "0", "MB"] == lines[2].split()[7:10]


def test_a_trace_of_another_model_is_refused(tmp_path: Path) -> None:
    """The message has both shapes."""
    save_trace(
        draw_trace("flat", layers=36, experts=128, chosen=4, tokens=2), tmp_path / "trace"
    )

    with pytest.raises(FitError, match=r"must have 24 layers of 32 experts.*has 36 of 128"):
        run_simulation(**M4_16GB, trace=tmp_path / "trace")


def test_a_file_that_is_no_trace_is_refused(tmp_path: Path) -> None:
    """With the error of the file."""
    (tmp_path / "trace").write_text("token,layer,expert\n")

    with pytest.raises(TraceError, match="line 1 must be JSON"):
        run_simulation(**M4_16GB, trace=tmp_path / "trace")


def test_a_machine_whose_bandwidth_is_not_known_asks_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The hint is the command. Another Mac has an M4's, and is said to."""
    figures = figures_for("AMD EPYC")
    with pytest.raises(FitError, match=r"memory bandwidth of .* is not known") as caught:
        run_simulation("20b", MAC, figures, is_here=True)
    run_simulation("20b", MAC, figures, [0.5])

    assert "20b q8: memory 120 GB/s (an M4's), a program" in capsys.readouterr().out

    assert caught.value.hint == "Name it: gptoss-mlx fit --simulate --bandwidth 120GB/s"


def test_a_model_that_is_not_here_is_the_usual_error() -> None:
    """As for every command."""
    with pytest.raises(GptOssError, match="nowhere"):
        run_simulation("nowhere", MAC, SpeedFigures())


@pytest.mark.parametrize(
    ("text", "share"),
    [("60%", 0.6), ("0.6", 0.6), ("12.5 %", 0.125), ("100%", 1), ("1", 1)],
)
def test_a_share_is_read_as_it_is_written(text: str, share: float) -> None:
    """In percent or not."""
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["", "0", "60", "101%", "-1%", "most", "1..2", "%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    """Above 1 without a percent sign, too."""
    with pytest.raises(
        ValueError, match=r"^must be (a share of the experts, as 60%|over 0)"
    ):
        parse_share(text)


def test_the_module_does_not_wait_for_mlx() -> None:
    """The command imports it for ``--help``."""
    script = (
        "import sys, gptoss_mlx.cli.fit_simulate;"
        "sys.exit(bool({'mlx.core', 'numpy'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
