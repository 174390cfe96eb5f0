from __future__ import annotations

import dataclasses
import json

import mlx.core as mx
import pytest
from evidence import Note

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.device import Machine
from gptoss_mlx.doctor import selftest
from gptoss_mlx.doctor.inspection import Inspection, inspect_machine
from gptoss_mlx.doctor.report import Report, TourAnswer
from gptoss_mlx.doctor.selftest import LogitsCheck, check_logits
from gptoss_mlx.errors import DataError
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.transformer import Model

INSPECTION = Inspection(
    version="0.1.0",
    system="Darwin 25.1.0 arm64",
    python="3.12.1",
    machine=Machine("Apple M4", "gpu", "bfloat16", 17_179_869_184, 12_713_115_648),
    home="/Users/ada/.gptoss-mlx",
    free_bytes=100_000_000_000,
    versions={"mlx": "0.32.4", "mlx-lm": None},
    models={"demo": "ready"},
)
RIGHT = LogitsCheck("float32", 1e-5, 1e-3, 8, 8, 900.0)
REPORT = Report(
    INSPECTION, (RIGHT,), (TourAnswer("What | now?", "This\nand that.", True),), 10**8, 90.0
)


def test_the_machine_is_told_as_it_is() -> None:
    """Numbers that a machine has, and versions of what is installed."""
    found = inspect_machine()
    machine = found.machine

    assert 0 < machine.limit_bytes <= machine.memory_bytes
    assert machine.kind == (
        "gpu" if mx.default_device().type == mx.DeviceType.gpu else "cpu"
    )
    assert found.versions["mlx"] is not None
    assert found.free_bytes > 0


def test_the_demo_s_logits_are_the_reference_s(note: Note) -> None:
    """In float32, at every position of a text that is longer than a window."""
    check = check_logits(open_demo(print), mx.float32)

    note("demo_logits", check.difference)
    assert check.passed
    assert check.difference < 1e-4
    assert check.same_choice == check.positions == 8


def test_a_model_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One bias that is left out is far out of bounds."""

    def without_a_bias(checkpoint: Checkpoint, dtype: mx.Dtype) -> Model:
        model = load_model(checkpoint, dtype=dtype)
        bias = model.layers[1].self_attn.o_proj.bias
        model.layers[1].self_attn.o_proj.bias = mx.zeros_like(bias)
        return model

    monkeypatch.setattr(selftest, "load_model", without_a_bias)
    assert not check_logits(open_demo(print), mx.float32).passed


def test_golden_logits_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named error, which says to install the package again."""
    monkeypatch.setattr(selftest, "GOLDEN", "nothing.npz")

    with pytest.raises(DataError, match="must hold golden logits but does not"):
        check_logits(open_demo(print), mx.float32)


def test_the_report_for_people() -> None:
    """A line a fact, and the verdict last."""
    lines = REPORT.text().splitlines()

    assert lines[1].split("  ")[-1].strip() == "Apple M4 (gpu), computes in bfloat16"
    assert "17.2 GB, of which a program may use 12.7 GB" in lines[2]
    assert "mlx 0.32.4, mlx-lm absent" in lines[4]
    assert lines[6].endswith(
        "ok: 1.0e-05 from OpenAI's reference, at most 1e-03; same choice at 8 of 8"
    )
    assert lines[7].endswith("ok: What | now? → This and that.")
    assert lines[-1].endswith("all is right")


def test_the_report_for_an_issue() -> None:
    """A Markdown table: bars and line ends in an answer do not break it."""
    table = REPORT.markdown().splitlines()

    assert table[:2] == ["| gptoss-mlx doctor | |", "|---|---|"]
    assert "| tour 1 | ok: What \\| now? → This and that. |" in table
    assert all(line.startswith("|") and line.endswith("|") for line in table)


def test_the_report_for_a_program() -> None:
    """Everything, and the verdict in front."""
    told = json.loads(json.dumps(REPORT.json()))

    assert told["passed"] is True
    assert told["inspection"]["machine"]["limit_bytes"] == 12_713_115_648
    assert told["logits"][0]["difference"] == 1e-5
    assert told["tour"][0]["answer"] == "This\nand that."


@pytest.mark.parametrize("part", ["logits", "tour"])
def test_one_thing_that_is_wrong_makes_the_verdict(part: str) -> None:
    """Logits or an answer."""
    wrong = {
        "logits": (dataclasses.replace(RIGHT, difference=0.1),),
        "tour": (TourAnswer("What?", "Nothing.", False),),
    }
    report = dataclasses.replace(REPORT, **{part: wrong[part]})  # type: ignore[arg-type]

    assert not report.passed
    assert report.text().endswith("something is wrong")
    assert "WRONG" in report.text()
