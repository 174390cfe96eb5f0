from __future__ import annotations

from functools import partial

import pytest

from gptoss_mlx.doctor import examine as module
from gptoss_mlx.doctor.examine import examine
from gptoss_mlx.doctor.layer import Case
from gptoss_mlx.doctor.speed import Plan, measure_speed
from gptoss_mlx.errors import ModelNotFoundError

SMALL = Plan(chunks=(32,), prompt_tokens=40, contexts=(20, 50), written_tokens=5)


@pytest.mark.slow
@pytest.mark.timed
def test_everything_and_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """All checks pass, the model is measured, and each stage is told."""
    monkeypatch.setattr(module, "CPU_CASES", (Case(0, 1),))
    monkeypatch.setattr(module, "GPU_CASES", (Case(0, 1),))
    monkeypatch.setattr(module, "measure_speed", partial(measure_speed, plan=SMALL))
    stages: list[str] = []
    report = examine(print, stages.append, "demo")

    assert report.passed
    assert report.speed is not None
    assert report.speed.model == "demo"
    assert len(report.rotation) == 3
    assert report.layer
    assert report.prefill
    assert stages[0] == "the demo model's logits"
    assert "a layer of the real shape on the device" in stages
    assert "loading the model" in stages


def test_a_model_that_is_not_there() -> None:
    """It is told at once, and nothing is tested."""
    stages: list[str] = []

    with pytest.raises(ModelNotFoundError):
        examine(print, stages.append, "no-such-model")
    assert stages == []
