from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest

from gptoss_mlx.doctor import rotation
from gptoss_mlx.doctor.rotation import POSITIONS, check_rotation
from gptoss_mlx.model.rope import Rotation, rotation_at


@pytest.mark.parametrize("position", POSITIONS)
def test_a_position(position: int) -> None:
    """Right to float32's last bit or two, in radians."""
    found = check_rotation(position)

    assert found.passed
    assert found.radians < 2e-7


def fast_sine(angles: npt.NDArray[np.float32], quarter: float) -> npt.NDArray[np.float32]:
    """Metal's: the angle goes to turns by one float32 product, unreduced."""
    turns = angles * np.float32(1 / (2 * math.pi)) + np.float32(quarter)
    sine: npt.NDArray[np.float32] = np.sin(2 * math.pi * (turns % 1)).astype(np.float32)
    return sine


@pytest.mark.parametrize("position", POSITIONS)
def test_a_fast_sine(position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is wrong at every position that is looked at."""

    def wrong(inv_freq: npt.NDArray[np.float32], offset: int, length: int) -> Rotation:
        angles = np.float32(offset) * inv_freq[None]
        cos, sin = fast_sine(angles, 0.25), fast_sine(angles, 0)
        return Rotation(mx.array(cos[:, None]), mx.array(np.stack([-sin, sin], axis=1)))

    monkeypatch.setattr(rotation, "rotation_at", wrong)

    assert not check_rotation(position).passed


def test_a_table_of_another_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """One token off is a radian in the fastest dimension."""
    right = rotation_at
    monkeypatch.setattr(
        rotation, "rotation_at", lambda freq, at, length: right(freq, at + 1, length)
    )

    assert check_rotation(1_024).radians == pytest.approx(2 * math.sin(0.5), rel=1e-3)
