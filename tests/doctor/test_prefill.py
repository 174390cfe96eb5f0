from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.doctor import prefill
from gptoss_mlx.doctor.prefill import PIECES, TEXT, PrefillCheck, check_prefill
from gptoss_mlx.doctor.selftest import read_golden
from gptoss_mlx.model import transformer
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.rope import rotation_at
from gptoss_mlx.model.transformer import Model


@pytest.fixture(scope="module")
def demo() -> Model:
    """The demo model in float32."""
    return load_model(open_demo(print), dtype=mx.float32)


def check(model: Model) -> tuple[PrefillCheck, ...]:
    """A text that the demo knows, in pieces."""
    return check_prefill(model, read_golden().tokens.tolist())


def test_pieces_equal_the_whole(demo: Model) -> None:
    """In chunks and token by token, in float32 up to the last bits."""
    found = check(demo)

    assert [one.pieces for one in found] == list(PIECES)
    assert all(sum(sizes) == TEXT for sizes in PIECES.values())
    assert all(one.passed and one.largest < 1e-4 for one in found)


def test_a_chunk_that_is_off_by_one(demo: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk but the first begins one position too early: both fail."""
    monkeypatch.setattr(prefill, "TEXT", 150)
    monkeypatch.setattr(prefill, "PIECES", {"chunks": [100, 50], "steps": [140] + [1] * 10})
    right = rotation_at
    monkeypatch.setattr(
        transformer,
        "rotation_at",
        lambda freq, offset, length: right(freq, max(offset - 1, 0), length),
    )

    assert not any(one.passed for one in check(demo))


@pytest.mark.parametrize(
    ("dtype", "kl", "largest", "passed"),
    [
        ("float32", 1e-3, 1e-4, True),
        ("float32", 3e-3, 1e-4, False),
        ("float32", 1e-3, 1e-2, False),
        ("bfloat16", 1e-3, 1.0, True),
        ("bfloat16", 3e-3, 1.0, False),
        ("bfloat16", np.nan, 1.0, False),
    ],
)
def test_what_is_near_enough(dtype: str, kl: float, largest: float, passed: bool) -> None:
    """KL in every type, logits in float32 too."""
    bound = 1e-3 if dtype == "float32" else None

    assert PrefillCheck(dtype, "chunks", kl, largest, 2e-3, bound).passed is passed
