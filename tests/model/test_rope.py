from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest
from golden import FOLDER, ROPE_POSITIONS

from gptoss_mlx.config import RopeScaling
from gptoss_mlx.model.rope import concentration, rotate, yarn_inv_freq, yarn_periods

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


def test_rotation_up_to_the_last_position() -> None:
    """Cosine and sine stay within 5e-4 of the reference's table up to 131,071."""
    golden = np.load(FOLDER / "rope.npz")
    periods = yarn_periods(64, THETA, RELEASED)
    # A pair (1, 0) turns into (cos, sin).
    pairs = mx.concatenate([mx.ones((1, 1, 1, 32)), mx.zeros((1, 1, 1, 32))], axis=-1)
    turned = np.concatenate(
        [np.array(rotate(pairs, periods, int(at)))[0, 0] for at in ROPE_POSITIONS]
    )

    assert ROPE_POSITIONS[-1] == 131_071
    assert np.abs(turned[:, :32] - golden["cos"]).max() <= 5e-4
    assert np.abs(turned[:, 32:] - golden["sin"]).max() <= 5e-4


def test_concentration_of_the_released_models() -> None:
    """It is 0.1 ln(factor) + 1."""
    assert concentration(RELEASED) == pytest.approx(1.3465735902799727)


def test_a_factor_of_one_is_plain_rope() -> None:
    """Without scaling, nothing is slowed and nothing concentrated."""
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
    """The message names both ends."""
    scaling = RopeScaling(32.0, 1.0, 1.0, 4_096)

    with pytest.raises(ValueError, match=r"above beta_slow but got 1.0 and 1.0"):
        yarn_inv_freq(64, THETA, scaling)
