"""YaRN rotary embedding, as gpt-oss uses it.

Source: https://arxiv.org/abs/2309.00071 and RotaryEmbedding in
https://github.com/openai/gpt-oss/blob/main/gpt_oss/torch/model.py
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from gptoss_mlx.config import RopeScaling

__all__ = ["Rotation", "concentration", "rotate", "rotation_at", "yarn_inv_freq"]

# torch's float32 power is one ulp from the correctly rounded one at two of gpt-oss's 32
# dimensions. An ulp there turns position 131,071 by 1e-3 radian, so it is followed.
REFERENCE_ULPS = {(150000.0, 64): {6: -1, 10: 1}}


def yarn_inv_freq(
    head_dim: int, rope_theta: float, scaling: RopeScaling
) -> npt.NDArray[np.float32]:
    """Compute what a position is multiplied by to give each dimension's angle.

    Dimensions that turn more than ``beta_fast`` times in the original context keep their
    frequency, those that turn less than ``beta_slow`` times are slowed by ``factor``, and
    a linear ramp joins the two.

    Args:
        head_dim: Size of one attention head. Even.
        rope_theta: Base of the frequencies.
        scaling: YaRN's parameters. A factor of 1.0 or less means plain RoPE.

    Returns:
        Radians per token. Shape ``(head_dim / 2,)``, float32, rounded at each step as
        the reference's ``_compute_concentration_and_inv_freq`` rounds.

    Raises:
        ValueError: ``head_dim`` is odd, or the ramp has no length.
    """
    if head_dim % 2:
        raise ValueError(f"[yarn_inv_freq] head_dim must be even but got {head_dim}.")
    half = head_dim // 2
    freq = (rope_theta ** (np.arange(half) / half)).astype(np.float32)
    for i, ulps in REFERENCE_ULPS.get((rope_theta, head_dim), {}).items():
        freq[i] = np.nextafter(freq[i], np.float32(ulps * math.inf))
    extrapolation = np.reciprocal(freq)
    if scaling.factor <= 1.0:
        return extrapolation

    def dim_of(turns: float) -> float:
        context = scaling.original_max_position_embeddings
        return half * math.log(context / (turns * 2 * math.pi)) / math.log(rope_theta)

    # gpt-oss does not round the ends of the ramp ("truncate": false in config.json).
    low, high = dim_of(scaling.beta_fast), dim_of(scaling.beta_slow)
    if not low < high:
        raise ValueError(
            "[yarn_inv_freq] beta_fast must be above beta_slow "
            f"but got {scaling.beta_fast} and {scaling.beta_slow}."
        )
    dims = np.arange(half, dtype=np.float32)
    ramp = np.clip((dims - np.float32(low)) / np.float32(high - low), 0, 1)
    mask = 1 - ramp  # 1 where the frequency is kept
    interpolation = 1 / (np.float32(scaling.factor) * freq)
    inv_freq: npt.NDArray[np.float32] = interpolation * (1 - mask) + extrapolation * mask
    return inv_freq


def concentration(scaling: RopeScaling) -> float:
    """Return what YaRN multiplies both queries and keys by. Unitless, at least 1."""
    return 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1.0 else 1.0


class Rotation(NamedTuple):
    """The cosines and sines of consecutive positions.

    Attributes:
        cos: Shape ``(L, 1, D / 2)``, float32.
        sin: Of each pair's first half negated, of its second half plain. Shape
            ``(L, 2, D / 2)``, float32.
    """

    cos: mx.array
    sin: mx.array

    def last(self, count: int) -> Rotation:
        """Return the rotation of the last positions alone."""
        return Rotation(self.cos[-count:], self.sin[-count:])


def rotation_at(inv_freq: npt.NDArray[np.float32], offset: int, length: int) -> Rotation:
    """Compute what turns the heads at some positions, as the reference's table has it.

    The angle is rounded to float32, as there; its sine is exact. Metal's own sine of so
    large an angle is off by up to 1e-2.

    Args:
        inv_freq: From ``yarn_inv_freq``. Shape ``(D / 2,)``.
        offset: The first position.
        length: How many positions.
    """
    positions = np.arange(offset, offset + length, dtype=np.float32)
    angles = (positions[:, None] * inv_freq).astype(np.float64)  # (L, D / 2)
    cos, sin = np.cos(angles), np.sin(angles)
    return Rotation(
        mx.array(cos[:, None].astype(np.float32)),
        mx.array(np.stack([-sin, sin], axis=1).astype(np.float32)),
    )


def rotate(x: mx.array, rotation: Rotation) -> mx.array:
    """Rotate each half-split pair of ``x`` by its position's angle, in float32.

    Args:
        x: Queries and keys. Shape ``(B, H, L, D)``.
        rotation: Of these ``L`` positions.
    """
    halves = x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2)  # (B, H, L, 2, D / 2)
    return _rotate(halves, halves[..., ::-1, :], *rotation).reshape(x.shape)


@partial(mx.compile, shapeless=True)
def _rotate(halves: mx.array, swapped: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    turned = halves.astype(mx.float32) * cos + swapped.astype(mx.float32) * sin
    return turned.astype(halves.dtype)
