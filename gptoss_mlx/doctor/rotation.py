"""How far from right positions are encoded, from a conversation's start to its end."""

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
    """A position's rotation against the one in float64.

    Attributes:
        position: In tokens.
        radians: The largest error of any dimension.
        bound: What it may be at most.
    """

    position: int
    radians: float
    bound: float = BOUND

    @property
    def passed(self) -> bool:
        """Whether it is near enough."""
        return self.radians <= self.bound


def check_rotation(position: int) -> RotationCheck:
    """Turn the pairs (1, 0) on the device as a released model would, and measure.

    The angle is the float32 one, as in OpenAI's reference; its cosine and sine are exact.
    """
    config = RELEASED["20b"]
    half = config.head_dim // 2
    inv_freq = yarn_inv_freq(config.head_dim, config.rope_theta, config.rope_scaling)
    pairs = mx.concatenate([mx.ones((1, 1, 1, half)), mx.zeros((1, 1, 1, half))], axis=-1)
    turned = np.array(rotate(pairs, rotation_at(inv_freq, position, 1)))[0, 0, 0]
    cos, sin = np.split(turned.astype(np.float64), 2)
    angle = (np.float32(position) * inv_freq).astype(np.float64)
    # Where these points are apart, so are the angles; a length that is not 1 counts too.
    distance = np.hypot(cos - np.cos(angle), sin - np.sin(angle))
    return RotationCheck(position, float(distance.max()))
