"""The memory bandwidth and the SSD's speed of a Mac, which limit the speed of decoding.

Source: Apple's technical specifications of the Macs with each chip.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["BANDWIDTHS", "bandwidth_of", "ssd_bandwidth_of"]

BANDWIDTHS: Mapping[str, float] = {
    "M1": 68e9,
    "M1 Pro": 200e9,
    "M1 Max": 400e9,
    "M1 Ultra": 800e9,
    "M2": 100e9,
    "M2 Pro": 200e9,
    "M2 Max": 400e9,
    "M2 Ultra": 800e9,
    "M3": 100e9,
    "M3 Pro": 150e9,
    "M3 Max": 400e9,
    "M3 Ultra": 819e9,
    "M4": 120e9,
    "M4 Pro": 273e9,
    "M4 Max": 546e9,
    "M5": 153e9,
    "M5 Pro": 307e9,
    "M5 Max": 614e9,
}
"""Bytes per second by chip. A chip sold with fewer cores has the full chip's value."""

# Reads of several megabytes by several threads, as others have measured them.
BASE_SSD, LARGE_SSD, M5_SSD = 2.9e9, 5.8e9, 6.5e9


def bandwidth_of(device: str) -> float | None:
    """Return a chip's bytes per second; None for an unknown chip.

    Args:
        device: MLX's name, e.g. ``Apple M4 Pro``.
    """
    return BANDWIDTHS.get(_chip(device))


def ssd_bandwidth_of(device: str) -> float | None:
    """Estimate the bytes per second of the SSD beside a chip; None for an unknown chip."""
    chip = _chip(device)
    if chip not in BANDWIDTHS:
        return None
    if chip.startswith("M5"):
        return M5_SSD
    return LARGE_SSD if " " in chip else BASE_SSD


def _chip(device: str) -> str:
    return device.removeprefix("Apple ").strip()
