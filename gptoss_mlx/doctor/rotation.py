"""Measures the error of rotary positions, from the first to the last."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from gptoss_mlx.config import RELEASED
from gptoss_mlx.model.rope import rotate, rotation_at, yarn_inv_freq

__all__ = ["BOUND", "POSITIONS", "RotationCheck", "check_rotation"]

POSITIONS = (1_024, 8_192, 131_071)

BOUND = 1e-6
"""In radians. Metal's own sine is off by up to 9e-3 at the last position."""


@dataclass(frozen=True, slots=True)
class RotationCheck:
    """The comparison of a position's rotation with float64.

    Attributes:
        position: The position in tokens.
        radians: The largest error of any dimension.
        bound: The largest allowed error.
    """

    position: int
    radians: float
    bound: float = BOUND

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound."""
        return self.radians <= self.bound


def check_rotation(position: int) -> RotationCheck:
    """Rotate the pairs (1, 0) on the device as a released model would, and measure.

    The angle is the float32 one, as in OpenAI's reference; its cosine and sine are exact.
    """
    config = RELEASED["20b"]
    half = config.head_dim // 2
    inv_freq = yarn_inv_freq(config.head_dim, config.rope_theta, config.rope_scaling)
    pairs = mx.concatenate([mx.ones((1, 1, 1, half)), mx.zeros((1, 1, 1, half))], axis=-1)
    turned = np.array(rotate(pairs, rotation_at(inv_freq, position, 1)))[0, 0, 0]
    cos, sin = np.split(turned.astype(np.float64), 2)
    angle = (np.float32(position) * inv_freq).astype(np.float64)
    # The distance of the points shows errors of the angle and of the length.
    distance = np.hypot(cos - np.cos(angle), sin - np.sin(angle))
    return RotationCheck(position, float(distance.max()))
