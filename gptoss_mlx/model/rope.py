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
# dimensions. One ulp there turns position 131,071 by 1e-3 radian, so we use torch's value.
REFERENCE_ULPS = {(150000.0, 64): {6: -1, 10: 1}}


def yarn_inv_freq(
    head_dim: int, rope_theta: float, scaling: RopeScaling
) -> npt.NDArray[np.float32]:
    """Compute the angle per position of each pair of dimensions.

    Dimensions that turn more than ``beta_fast`` times in the original context keep their
    frequency. For those that turn less than ``beta_slow`` times it is divided by
    ``factor``. In between it follows a linear ramp.

    Args:
        head_dim: Size of one attention head. Even.
        rope_theta: Base of the frequencies.
        scaling: YaRN's parameters. A factor of 1.0 or less is plain RoPE.

    Returns:
        Radians per token. Shape ``(head_dim / 2,)``, float32, rounded at each step like
        the reference's ``_compute_concentration_and_inv_freq``.

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
    """Return YaRN's factor for both queries and keys. Unitless, at least 1."""
    return 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1.0 else 1.0


class Rotation(NamedTuple):
    """The cosines and sines of consecutive positions.

    Attributes:
        cos: Shape ``(L, 1, D / 2)``, float32.
        sin: The sines, negated for each pair's first half. Shape
            ``(L, 2, D / 2)``, float32.
    """

    cos: mx.array
    sin: mx.array

    def last(self, count: int) -> Rotation:
        """Return the rotation of the last ``count`` positions."""
        return Rotation(self.cos[-count:], self.sin[-count:])


def rotation_at(inv_freq: npt.NDArray[np.float32], offset: int, length: int) -> Rotation:
    """Compute the rotation of consecutive positions, with the reference's values.

    The angle is rounded to float32, as in the reference; its sine is exact. Metal's own
    sine of so large an angle has an error of up to 1e-2.

    Args:
        inv_freq: From ``yarn_inv_freq``. Shape ``(D / 2,)``.
        offset: The first position.
        length: Number of positions.
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
        rotation: The rotation of these ``L`` positions.
    """
    halves = x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2)  # (B, H, L, 2, D / 2)
    return _rotate(halves, halves[..., ::-1, :], *rotation).reshape(x.shape)


@partial(mx.compile, shapeless=True)
def _rotate(halves: mx.array, swapped: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    turned = halves.astype(mx.float32) * cos + swapped.astype(mx.float32) * sin
    return turned.astype(halves.dtype)
