"""What the device at hand is good at."""

from __future__ import annotations

import os
from typing import Literal

import mlx.core as mx

__all__ = [
    "compute_dtype",
    "device_kind",
    "device_name",
    "memory_bytes",
    "memory_limit_bytes",
]

# Of a machine without an Apple GPU: the rest is for the system and other programs.
SHARE_OF_MEMORY = 0.75


def compute_dtype() -> mx.Dtype:
    """Return the type to compute in on MLX's default device.

    On a GPU bf16, as gpt-oss was trained: half the bytes per token. On MLX's CPU float32:
    its bf16 ``quantized_matmul`` takes nine times as long (74 ms against 8 ms for
    5760 x 2880 on two cores).
    """
    return mx.bfloat16 if device_kind() == "gpu" else mx.float32


def device_kind() -> Literal["cpu", "gpu"]:
    """Return what MLX's default device is."""
    return "gpu" if mx.default_device().type == mx.DeviceType.gpu else "cpu"


def device_name() -> str:
    """Return what MLX calls the device at hand, e.g. ``Apple M4``."""
    return str(mx.device_info().get("device_name", "unknown"))


def memory_bytes() -> int:
    """Return the memory of the machine, which on a Mac the GPU shares."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_limit_bytes() -> int:
    """Return how much of it a program may use at once.

    On a Mac that is what Metal recommends, which ``sudo sysctl iogpu.wired_limit_mb=N``
    raises; elsewhere a share of the memory.
    """
    limit = mx.device_info().get("max_recommended_working_set_size")
    return int(limit) if limit else int(SHARE_OF_MEMORY * memory_bytes())
