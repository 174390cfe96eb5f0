"""What the device at hand is good at."""

from __future__ import annotations

import mlx.core as mx

__all__ = ["compute_dtype"]


def compute_dtype() -> mx.Dtype:
    """Return the type to compute in on MLX's default device.

    On a GPU bf16, as gpt-oss was trained: half the bytes per token. On MLX's CPU float32:
    its bf16 ``quantized_matmul`` takes nine times as long (74 ms against 8 ms for
    5760 x 2880 on two cores).
    """
    on_gpu = mx.default_device().type == mx.DeviceType.gpu
    return mx.bfloat16 if on_gpu else mx.float32
