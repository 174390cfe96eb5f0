"""What only an Apple GPU can show; everything else in this folder runs there too."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from golden import Case, Golden, prefill_logits, tokens_of

from gptoss_mlx import load_model
from gptoss_mlx.device import compute_dtype

pytestmark = pytest.mark.metal


def test_a_mac_computes_on_its_gpu_in_bf16() -> None:
    """The device's dtype there is bf16."""
    assert mx.default_device().type == mx.DeviceType.gpu
    assert compute_dtype() == mx.bfloat16


def test_float32_logits_on_the_gpu(released: dict[Case, Path]) -> None:
    """The GPU's kernels are as near to the reference as the CPU's."""
    case = Case(1, 128)
    model = load_model(released[case], dtype=mx.float32)

    logits = prefill_logits(model, tokens_of(case))

    assert Golden.load(case).difference(logits, 0, 1_500) <= 5e-4


def test_the_gpu_agrees_with_the_cpu(released: dict[Case, Path]) -> None:
    """The same model on the two devices differs by rounding alone."""
    case = Case(1, 8)
    tokens = tokens_of(case)[:200]
    model = load_model(released[case], dtype=mx.float32)
    on_gpu = prefill_logits(model, tokens)

    with mx.stream(mx.cpu):
        on_cpu = prefill_logits(model, tokens)

    assert np.abs(on_gpu - on_cpu).max() <= 1e-4
