"""Runs all checks of doctor, in order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.demo.questions import TOUR
from gptoss_mlx.device import compute_dtype, device_kind
from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.doctor.inspection import inspect_machine
from gptoss_mlx.doctor.layer import Case, LayerCheck, check_layer, expect
from gptoss_mlx.doctor.prefill import check_prefill
from gptoss_mlx.doctor.report import Report, TourAnswer
from gptoss_mlx.doctor.rotation import POSITIONS, check_rotation
from gptoss_mlx.doctor.selftest import check_logits, read_golden
from gptoss_mlx.doctor.speed import measure_speed
from gptoss_mlx.errors import StorageError
from gptoss_mlx.llm import load
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model_choice import open_model

__all__ = ["CPU_CASES", "GPU_CASES", "examine"]

CPU_CASES = (Case(130, 1), Case(130, 3), Case(130, 6), Case(130, 33))
"""Enough tokens to fill the windows. More would take MLX's CPU minutes."""

GPU_CASES = (*CPU_CASES, Case(588, 512), Case(1_100, 1), Case(1_100, 6), Case(4_200, 1))
"""Metal has other kernels for steps over 1,024 keys on large chips, 4,096 on others."""


def examine(
    say: Callable[[str], None],
    stage: Callable[[str], None] = lambda text: None,
    model: str | None = None,
) -> Report:
    """Describe the machine, and test the program on its device.

    Where the store cannot be written, the demo model is made in a temporary folder.

    Args:
        say: Called with a line about anything that takes over a second.
        stage: Called with the name of the next check.
        model: The model to measure, as in ``open_model``. None: no model.

    Raises:
        GptOssError: The demo model or ``model`` cannot be opened or loaded.
    """
    named = None if model is None else open_model(model, say)
    with device_errors(), _demo(say) as (checkpoint, problem):
        report = _examine(checkpoint, named, stage)
    if problem is not None:
        report = replace(report, inspection=replace(report.inspection, problem=problem))
    return report


@contextmanager
def _demo(say: Callable[[str], None]) -> Iterator[tuple[Checkpoint, str | None]]:
    """Open the demo model; say why it is not in the store, if it cannot be."""
    try:
        checkpoint, problem = open_demo(say), None
    except StorageError as error:
        checkpoint, problem = None, str(error)
    if checkpoint is not None:
        yield checkpoint, None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield open_demo(say, Path(folder)), problem


def _examine(
    checkpoint: Checkpoint, named: Checkpoint | None, stage: Callable[[str], None]
) -> Report:
    """Test the program on the demo model, and measure the speed of another."""
    mx.reset_peak_memory()
    # float32 shows that results are correct; the device's own dtype shows that it works.
    dtypes = list(dict.fromkeys((mx.float32, compute_dtype())))
    stage("the demo model's logits")
    logits = tuple(check_logits(checkpoint, dtype) for dtype in dtypes)
    stage("a text in chunks")
    text = read_golden().tokens.tolist()
    prefill = tuple(
        check
        for dtype in dtypes
        for check in check_prefill(load_model(checkpoint, dtype=dtype), text)
    )
    stage("the demo model's answers")
    tour: list[TourAnswer] = []
    spent: list[Usage] = []
    llm = load(checkpoint.folder)
    for question in TOUR:
        answer = llm.ask(question.question)
        passed = question.expected in answer.text
        tour.append(TourAnswer(question.question, answer.text, passed))
        spent.append(answer.usage)
    seconds = sum(usage.decode_s for usage in spent)
    demo_peak_bytes = mx.get_peak_memory()
    stage("positions")
    rotation = tuple(map(check_rotation, POSITIONS))
    layer = _check_layers(dtypes, stage)
    speed = None if named is None else measure_speed(named, stage)
    stage("the machine")
    return Report(
        inspection=inspect_machine(),
        logits=logits,
        prefill=prefill,
        rotation=rotation,
        layer=layer,
        tour=tuple(tour),
        peak_bytes=demo_peak_bytes,
        tokens_per_s=sum(usage.decode_tokens for usage in spent) / seconds,
        speed=speed,
    )


def _check_layers(
    dtypes: list[mx.Dtype], stage: Callable[[str], None]
) -> tuple[LayerCheck, ...]:
    """Test the device's layer; with a GPU also MLX's CPU, to see which of them is wrong."""
    gpu = device_kind() == "gpu"
    cases = GPU_CASES if gpu else CPU_CASES
    stage("a layer of the real shape in NumPy")
    expected = expect(cases)
    stage("a layer of the real shape on the device")
    checks = [check_layer(expected, cases, dtype, device_kind()) for dtype in dtypes]
    if gpu:
        stage("a layer of the real shape on the CPU")
        checks.append(check_layer(expected, CPU_CASES[:3], mx.float32, "cpu"))
    mx.clear_cache()
    return tuple(checks)
