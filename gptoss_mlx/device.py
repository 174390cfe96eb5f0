"""The machine: its device, dtype and memory."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx

from gptoss_mlx.device_errors import device_errors

__all__ = [
    "Machine",
    "compute_dtype",
    "device_kind",
    "macos_version",
    "memory_bytes",
    "this_machine",
]

# On a machine without an Apple GPU: the rest is for the system and other programs.
SHARE_OF_MEMORY = 0.75


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's properties that decide how a model runs.

    Attributes:
        device: MLX's name, e.g. ``Apple M4``.
        kind: The kind of device.
        dtype: The dtype to compute in, with MLX's name: ``bfloat16`` or ``float32``.
        memory_bytes: The machine's memory; on a Mac the GPU shares it.
        limit_bytes: How much of it a program may use at once. On a Mac this is Metal's
            recommendation, which ``sudo sysctl iogpu.wired_limit_mb=N`` raises; elsewhere a
            share of the memory.
        architecture: MLX's name, e.g. ``applegpu_g16g`` for an M4.
        macos: The version of macOS, e.g. ``(15, 6)``. Empty on another system.
    """

    device: str
    kind: Literal["cpu", "gpu"]
    dtype: str
    memory_bytes: int
    limit_bytes: int
    architecture: str = ""
    macos: tuple[int, ...] = ()

    @property
    def value_bytes(self) -> int:
        """Bytes of a value that is not quantized."""
        dtype: mx.Dtype = getattr(mx, self.dtype)
        return dtype.size


def this_machine() -> Machine:
    """Describe this machine, and MLX's default device on it.

    Raises:
        DeviceError: There is no device.
    """
    with device_errors():
        info = mx.device_info()
    total_bytes = memory_bytes()
    limit = info.get("max_recommended_working_set_size")
    return Machine(
        device=str(info.get("device_name", "unknown")),
        kind=device_kind(),
        dtype=str(compute_dtype()).removeprefix("mlx.core."),
        memory_bytes=total_bytes,
        limit_bytes=int(limit) if limit else int(SHARE_OF_MEMORY * total_bytes),
        architecture=str(info.get("architecture", "")),
        macos=macos_version(platform.mac_ver()[0]),
    )


def memory_bytes() -> int:
    """Return how much memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def macos_version(text: str) -> tuple[int, ...]:
    """Parse a version of macOS, e.g. ``15.6.1``; an invalid one gives an empty tuple.

    To a Python that was built for an older macOS, macOS 26 reports version 16.

    Source: https://github.com/python/cpython/issues/135675
    """
    parts = text.split(".")
    if not all(part.isdecimal() for part in parts):
        return ()
    major, *rest = map(int, parts)
    return (26 if major == 16 else major, *rest)


def compute_dtype() -> mx.Dtype:
    """Return the dtype to compute in on MLX's default device.

    On a GPU it is bf16, as in gpt-oss's training: half the bytes per token. On MLX's CPU it
    is float32: bf16 ``quantized_matmul`` takes nine times as long (74 ms against 8 ms for
    5760 x 2880 on two cores).
    """
    return mx.bfloat16 if device_kind() == "gpu" else mx.float32


def device_kind() -> Literal["cpu", "gpu"]:
    """Return the kind of MLX's default device."""
    return "gpu" if mx.default_device().type == mx.DeviceType.gpu else "cpu"
