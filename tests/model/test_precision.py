"""What computing in bf16 costs, where no expert can flip."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from golden import LENGTH, prefill_logits
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import load_model

MEAN_BOUND, MAX_BOUND = 2e-3, 3e-2


def log_softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return log-probabilities in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(
        np.exp(shifted).sum(axis=-1, keepdims=True)
    )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_bf16_stays_near_float32(seed: int, tmp_path: Path) -> None:
    """KL of bf16 from float32: mean at most 2e-3, max at most 3e-2, over 1,500 tokens."""
    write_tiny_checkpoint(tmp_path, seed, num_local_experts=4)
    random = np.random.RandomState(seed)
    tokens = random.randint(3, 512, LENGTH)
    exact, rounded = (
        log_softmax(prefill_logits(load_model(tmp_path, dtype=dtype), tokens))
        for dtype in (mx.float32, mx.bfloat16)
    )

    divergence = (np.exp(exact) * (exact - rounded)).sum(axis=-1)

    assert divergence.mean() <= MEAN_BOUND
    assert divergence.max() <= MAX_BOUND
