"""Reads amounts that a user types: shares, bytes and rates. Needs no MLX."""

from __future__ import annotations

import re

from gptoss_mlx.files import short

__all__ = ["MOST_BYTES", "parse_bytes", "parse_memory", "parse_rate", "parse_share"]

MOST_BYTES = 10**15
"""More memory than any machine has."""

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}

# A Mac's label counts memory in powers of two, and often without the B.
_LABEL_UNITS = {
    **_UNITS,
    **{f"{letter}{b}": _UNITS[f"{letter}IB"] for letter in "KMGT" for b in ("", "B")},
}

# The digits before and after a point, and what follows.
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(.*?)\s*", re.ASCII | re.DOTALL)


def parse_share(text: str) -> float:
    """Read ``60%`` or ``0.6``.

    Raises:
        ValueError: It is something else, or not over 0 and up to 1.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None or match[2] not in ("", "%"):
        raise ValueError(f"must be a share of the experts, as 60%, but is {short(text)}")
    share = float(match[1]) / (100 if match[2] else 1)
    if not 0 < share <= 1:
        raise ValueError(f"must be over 0 and up to 100% but is {short(text)}")
    return share


def parse_bytes(text: str) -> int:
    """Read ``8GB`` or ``7.5 GiB``.

    Raises:
        ValueError: It is something else, has no unit, or is not from 1 byte to
            ``MOST_BYTES``.
    """
    return _bytes(text, _UNITS)


def parse_memory(text: str) -> int:
    """Read a machine's memory, which is sold in powers of two.

    So ``16GB`` is 16 x 1024³ bytes here, as it is on a Mac's label.

    Raises:
        ValueError: As ``parse_bytes``.
    """
    return _bytes(text, _LABEL_UNITS)


def _bytes(text: str, units: dict[str, int]) -> int:
    match = _AMOUNT.fullmatch(text)
    unit = None if match is None else match[2].upper()
    if match is not None and unit == "":
        raise ValueError(f"must have a unit, as {_cut(match[1])}GB, but is {short(text)}")
    if match is None or unit not in units:
        raise ValueError(f"must be an amount of memory, as 8GB, but is {short(text)}")
    nbytes = float(match[1]) * units[unit]
    if nbytes < 1:
        raise ValueError(f"must be over 0 but is {short(text)}")
    if nbytes > MOST_BYTES:
        raise ValueError(f"must be up to {MOST_BYTES // 10**12:,}TB but is {short(text)}")
    return int(nbytes)


def parse_rate(text: str, least: float, most: float) -> float:
    """Read bytes per second: ``120GB/s``, ``800 MB/s``, or ``5.8``, which is GB/s.

    Args:
        text: What was typed.
        least: The lowest that is accepted, in bytes per second.
        most: The highest.

    Raises:
        ValueError: It is something else, or out of range.
    """
    match = _AMOUNT.fullmatch(text)
    unit = None if match is None else match[2].upper().removesuffix("/S") or "GB"
    if match is None or unit not in _UNITS:
        raise ValueError(f"must be a rate, as 120GB/s, but is {short(text)}")
    rate = float(match[1]) * _UNITS[unit]
    if not least <= rate <= most:
        raise ValueError(
            f"must be from {least / 1e9:,g}GB/s to {most / 1e9:,.0f}GB/s but is "
            f"{short(text)}"
        )
    return rate


def _cut(digits: str) -> str:
    """Return the digits for an example; 16 if they are too many for one."""
    return digits if len(digits) <= 8 else "16"
