from __future__ import annotations

import dataclasses
import json
import sys

import mlx.core as mx
import pytest
from evidence import Note

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.device import Machine
from gptoss_mlx.doctor import selftest
from gptoss_mlx.doctor.inspection import Buffers, Inspection, inspect_machine, wheel_tag
from gptoss_mlx.doctor.layer import CaseResult, LayerCheck
from gptoss_mlx.doctor.mac import Mac
from gptoss_mlx.doctor.prefill import PrefillCheck
from gptoss_mlx.doctor.report import Report, TourAnswer
from gptoss_mlx.doctor.rotation import RotationCheck
from gptoss_mlx.doctor.selftest import LogitsCheck, check_logits
from gptoss_mlx.doctor.speed import DecodeSpeed, PrefillSpeed, Speed
from gptoss_mlx.errors import DataError
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.transformer import Model

INSPECTION = Inspection(
    version="0.1.0",
    system="Darwin 25.1.0 arm64",
    python="3.12.1",
    machine=Machine(
        "Apple M4",
        "gpu",
        "bfloat16",
        17_179_869_184,
        12_713_115_648,
        "applegpu_g16g",
        (26, 1),
    ),
    home="/Users/ada/.gptoss-mlx",
    free_bytes=100_000_000_000,
    versions={"mlx": "0.32.4", "mlx-lm": None},
    wheels={"mlx-metal": "py3-none-macosx_26_0_arm64"},
    environment={"MLX_ENABLE_TF32": "0", "MLX_MAX_OPS_PER_BUFFER": "40"},
    buffers=Buffers(2 * 10**9, 10**8, 10**9),
    mac=Mac(wired_limit_mb=14_000, rosetta=False, thermal="nominal", low_power=None),
    advice=("update to macOS 26.2",),
    models={"demo": "ready"},
)
RIGHT = LogitsCheck("float32", 1e-5, 1e-3, 8, 8, 900.0)
LAYER = LayerCheck(
    "gpu",
    "float32",
    (
        CaseResult("sliding_attention", 6, 1_106, 5e-6, 4e-5),
        CaseResult("full_attention", 1, 1_101, 4e-6, 5e-5),
    ),
    1e-4,
    1e-3,
)
PIECES = PrefillCheck("bfloat16", "chunks of 100", 1e-4, 0.02, 2e-3, None)
SPEED = Speed(
    model="gpt-oss-20b-q8",
    load_s=3.2,
    prefill=(PrefillSpeed(512, 2_048, 1_234.0),),
    decode=(DecodeSpeed(100, 64, 41.25, 2_560_000_000, 0.88),),
    active_bytes=12 * 10**9,
    peak_bytes=13 * 10**9,
    cache_bytes=10**9,
    predicted_bytes=13_500_000_000,
)
REPORT = Report(
    inspection=INSPECTION,
    logits=(RIGHT,),
    prefill=(PIECES,),
    rotation=(RotationCheck(1_024, 3e-8), RotationCheck(131_071, 4e-8)),
    layer=(LAYER,),
    tour=(TourAnswer("What | now?", "This\nand that.", True),),
    peak_bytes=10**8,
    tokens_per_s=90.0,
    speed=SPEED,
)
ROWS = dict(REPORT.rows())


def test_the_machine_is_told_as_it_is() -> None:
    """Numbers that a machine has, and versions of what is installed."""
    found = inspect_machine()
    machine = found.machine

    assert 0 < machine.limit_bytes <= machine.memory_bytes
    assert machine.kind == (
        "gpu" if mx.default_device().type == mx.DeviceType.gpu else "cpu"
    )
    assert found.versions["mlx"] is not None
    assert found.wheels["mlx"].startswith("cp")
    assert found.buffers.cache_limit_bytes > 0
    assert found.environment["MLX_ENABLE_TF32"] == "0"
    assert (found.mac is None) == (sys.platform != "darwin")
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


@pytest.mark.parametrize(("dtype", "passed"), [("float32", False), ("bfloat16", True)])
def test_another_choice_is_wrong_in_float32(dtype: str, passed: bool) -> None:
    """However near the logits are; in bf16 two of them may be as good as equal."""
    assert dataclasses.replace(RIGHT, dtype=dtype, same_choice=7).passed is passed


def test_golden_logits_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named error, which says to install the package again."""
    monkeypatch.setattr(selftest, "GOLDEN", "nothing.npz")

    with pytest.raises(DataError, match="must hold golden logits but does not"):
        check_logits(open_demo(print), mx.float32)


def test_the_report_for_people() -> None:
    """A line a fact, and the verdict last."""
    assert list(REPORT.rows())[-1] == ("verdict", "passed")
    assert len(list(REPORT.rows())) == len(ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("device", "Apple M4 (gpu, applegpu_g16g), computes in bfloat16"),
        ("memory", "17.2 GB, of which a program may use 12.7 GB"),
        ("packages", "mlx 0.32.4, mlx-lm absent"),
        ("wheels", "mlx-metal py3-none-macosx_26_0_arm64"),
        ("MLX's memory", "2.00 GB in use, 0.10 GB kept free, at most 1.00 GB"),
        ("environment", "MLX_ENABLE_TF32=0 (by doctor), MLX_MAX_OPS_PER_BUFFER=40"),
        (
            "macOS 26.1",
            "thermal state nominal, Low Power Mode unknown, Rosetta off, "
            "iogpu.wired_limit_mb 14000",
        ),
        ("note", "update to macOS 26.2"),
        (
            "logits, float32",
            "ok: 1.0e-05 from OpenAI's reference, at most 1e-03; same choice at 8 of 8",
        ),
        (
            "layer, float32, gpu",
            "ok: 5.0e-06 from NumPy, at most 1e-04; the furthest 5.0e-05, at most 1e-03; "
            "queries 1, 6; 1,106 keys",
        ),
        (
            "rotation",
            "ok: 3.0e-08 at 1,024, 4.0e-08 at 131,071 radians off, at most 1e-06",
        ),
        (
            "chunks of 100, bfloat16",
            "ok: KL 1.0e-04 from the whole, at most 2e-03; logits 2.0e-02",
        ),
        ("tour 1", "ok: What | now? → This and that."),
        ("model", "gpt-oss-20b-q8, loaded in 3.2 s"),
        ("prefill, chunks of 512", "1,234 tokens/s for a prompt of 2,048"),
        (
            "decode at 100",
            "41.2 tokens/s, 2.56 GB per token, 88% of the memory's bandwidth",
        ),
        (
            "model's memory",
            "12.00 GB loaded, peak 13.00 GB, 1.00 GB kept free; predicted 13.50 GB",
        ),
    ],
)
def test_a_row_of_the_report(name: str, text: str) -> None:
    """What is read in an issue."""
    assert ROWS[name] == text


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


WRONG = {
    "logits": dataclasses.replace(RIGHT, difference=0.1),
    "prefill": dataclasses.replace(PIECES, kl=0.1),
    "rotation": RotationCheck(131_071, 9e-3),
    "layer": dataclasses.replace(LAYER, rms_bound=1e-7),
    "tour": TourAnswer("What?", "Nothing.", False),
}


@pytest.mark.parametrize("part", WRONG)
def test_one_thing_that_is_wrong_makes_the_verdict(part: str) -> None:
    """Of any kind."""
    report = dataclasses.replace(REPORT, **{part: (WRONG[part],)})  # type: ignore[arg-type]

    assert not report.passed
    rows = list(report.rows())
    assert rows[-1] == ("verdict", "failed")
    assert any(text.startswith("WRONG") for _, text in rows)


def test_a_layer_that_is_not_a_number() -> None:
    """It is wrong, though no comparison with it is true."""
    case = CaseResult("full_attention", 1, 1, float("nan"), float("nan"))

    assert not dataclasses.replace(LAYER, cases=(*LAYER.cases, case)).passed


def test_a_wheel_s_tag() -> None:
    """The last, where it has several; none where nothing is installed."""
    assert (
        wheel_tag("Wheel-Version: 1.0\nTag: a-b-c\nTag: py3-none-any\n") == "py3-none-any"
    )
    assert wheel_tag("") is None
