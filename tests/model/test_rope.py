from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from golden import FOLDER, ROPE_POSITIONS

from gptoss_mlx.config import RopeScaling
from gptoss_mlx.model.rope import (
    Rotation,
    concentration,
    rotate,
    rotation_at,
    yarn_inv_freq,
)

RELEASED = RopeScaling(
    factor=32.0,
    beta_fast=32.0,
    beta_slow=1.0,
    original_max_position_embeddings=4_096,
)
THETA = 150_000.0


def test_inv_freq_of_the_released_models_is_the_references() -> None:
    """All 32 float32 values are those of openai/gpt-oss, to the bit."""
    golden = np.load(FOLDER / "rope.npz")["inv_freq"]

    np.testing.assert_array_equal(yarn_inv_freq(64, THETA, RELEASED), golden)


def test_inv_freq_is_near_the_formula_in_float64() -> None:
    """The exceptions for the reference's rounding are no more than that."""
    freq = THETA ** (np.arange(32) / 32)
    low = 32 * math.log(4096 / (32 * 2 * math.pi)) / math.log(THETA)
    high = 32 * math.log(4096 / (1 * 2 * math.pi)) / math.log(THETA)
    ramp = np.clip((np.arange(32) - low) / (high - low), 0, 1)
    exact = ramp / (32 * freq) + (1 - ramp) / freq

    np.testing.assert_allclose(yarn_inv_freq(64, THETA, RELEASED), exact, rtol=1e-6)


def turned(rotations: list[Rotation]) -> npt.NDArray[np.float32]:
    """What a pair (1, 0) turns into at some positions: (cos, sin)."""
    pairs = mx.concatenate([mx.ones((1, 1, 1, 32)), mx.zeros((1, 1, 1, 32))], axis=-1)
    rows = [np.array(rotate(pairs, rotation))[0, 0] for rotation in rotations]
    return np.concatenate(rows)


def from_reference(actual: npt.NDArray[np.float32]) -> float:
    """The largest difference from the reference's float32 table."""
    golden = np.load(FOLDER / "rope.npz")
    expected = np.concatenate([golden["cos"], golden["sin"]], axis=1)
    return float(np.abs(actual - expected).max())


def test_rotation_up_to_the_last_position() -> None:
    """Cosine and sine are the reference's to 2e-7, up to position 131,071."""
    inv_freq = yarn_inv_freq(64, THETA, RELEASED)
    rotations = [rotation_at(inv_freq, int(at), 1) for at in ROPE_POSITIONS]

    assert ROPE_POSITIONS[-1] == 131_071
    assert from_reference(turned(rotations)) <= 2e-7


def test_a_fast_sine_would_be_noticed() -> None:
    """Like Metal's: the angle becomes turns by one float32 product, without reduction."""

    def fast(angles: npt.NDArray[np.float32], quarter: float) -> npt.NDArray[np.float32]:
        turns = angles * np.float32(1 / (2 * math.pi)) + np.float32(quarter)
        sine: npt.NDArray[np.float32] = np.sin(2 * math.pi * (turns % 1)).astype(np.float32)
        return sine

    rotations = []
    for at in ROPE_POSITIONS:
        angles = np.float32(at) * yarn_inv_freq(64, THETA, RELEASED)
        sin, cos = fast(angles, 0.0), fast(angles, 0.25)
        rotations.append(
            Rotation(mx.array(cos[None, None]), mx.array(np.stack([-sin, sin])[None]))
        )

    assert from_reference(turned(rotations)) > 1e-3


def test_a_row_of_positions_is_rotated_as_each_alone() -> None:
    """Queries and keys of several heads, in float32 and rounded once in bfloat16."""
    inv_freq = yarn_inv_freq(64, THETA, RELEASED)
    x = mx.random.normal((2, 3, 5, 64), key=mx.random.key(1))
    whole = rotate(x, rotation_at(inv_freq, 4_000, 5))
    alone = mx.concatenate(
        [rotate(x[:, :, i : i + 1], rotation_at(inv_freq, 4_000 + i, 1)) for i in range(5)],
        axis=2,
    )
    halved = rotate(x.astype(mx.bfloat16), rotation_at(inv_freq, 4_000, 5))

    np.testing.assert_array_equal(np.array(whole), np.array(alone))
    assert halved.dtype == mx.bfloat16
    exact = rotate(
        x.astype(mx.bfloat16).astype(mx.float32), rotation_at(inv_freq, 4_000, 5)
    )
    np.testing.assert_array_equal(
        np.array(halved.astype(mx.float32)),
        np.array(exact.astype(mx.bfloat16).astype(mx.float32)),
    )


def test_concentration_of_the_released_models() -> None:
    """It is 0.1 ln(factor) + 1."""
    assert concentration(RELEASED) == pytest.approx(1.3465735902799727)


def test_a_factor_of_one_is_plain_rope() -> None:
    """Without scaling, frequencies and lengths are unchanged."""
    plain = RopeScaling(1.0, 32.0, 1.0, 4_096)

    assert concentration(plain) == 1.0
    np.testing.assert_allclose(
        yarn_inv_freq(8, 10_000.0, plain), 10_000.0 ** -(np.arange(4) / 4), rtol=1e-6
    )


def test_an_odd_head_dim_is_refused() -> None:
    """The message names the function, the rule and the value."""
    with pytest.raises(ValueError, match=r"\[yarn_inv_freq\] .* even but got 7"):
        yarn_inv_freq(7, THETA, RELEASED)


def test_a_ramp_without_length_is_refused() -> None:
    """The message has both ends of the ramp."""
    scaling = RopeScaling(32.0, 1.0, 1.0, 4_096)

    with pytest.raises(ValueError, match=r"above beta_slow but got 1.0 and 1.0"):
        yarn_inv_freq(64, THETA, scaling)
