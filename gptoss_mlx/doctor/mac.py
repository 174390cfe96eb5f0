"""The state of a Mac, and advice for MLX on it."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_mlx.device import Machine

__all__ = ["Mac", "advice", "low_power_mode", "read_mac", "thermal_state", "whole_number"]

TIMEOUT_S = 5

# MLX's name of an M5's GPU: applegpu_g17 and a letter.
FIRST_WITH_NEURAL_ACCELERATORS = 17
WRONG_WITH_MLX = ((26, 0), (26, 1))


@dataclass(frozen=True, slots=True)
class Mac:
    """A Mac's state. None where macOS gives no value.

    Attributes:
        wired_limit_mb: ``iogpu.wired_limit_mb``; 0 leaves it to macOS.
        rosetta: Whether this process runs under Rosetta.
        thermal: ``nominal``, or how it is slowed down, or ``unknown``.
        low_power: Whether Low Power Mode is on.
    """

    wired_limit_mb: int | None
    rosetta: bool | None
    thermal: str
    low_power: bool | None


def read_mac() -> Mac | None:
    """Read the state from macOS; None on another system."""
    if platform.system() != "Darwin":
        return None
    translated = whole_number(_output("/usr/sbin/sysctl", "-n", "sysctl.proc_translated"))
    return Mac(
        wired_limit_mb=whole_number(
            _output("/usr/sbin/sysctl", "-n", "iogpu.wired_limit_mb")
        ),
        rosetta=None if translated is None else translated == 1,
        thermal=thermal_state(_output("/usr/bin/pmset", "-g", "therm")),
        low_power=low_power_mode(_output("/usr/bin/pmset", "-g")),
    )


def whole_number(text: str) -> int | None:
    """Parse the output of ``sysctl -n``."""
    text = text.strip()
    return int(text) if text.isdecimal() else None


def thermal_state(text: str) -> str:
    """Parse the output of ``pmset -g therm``."""
    limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", text)
    if limit is not None and int(limit[1]) < 100:
        return f"slowed to {limit[1]} %"
    level = re.search(r"(?:thermal|performance) warning level\D{0,5}(\d+)", text, re.I)
    if level is not None and int(level[1]) > 0:
        return f"warning level {level[1]}"
    told = limit is not None or level is not None
    return "nominal" if told or "No thermal warning level" in text else "unknown"


def low_power_mode(text: str) -> bool | None:
    """Parse the output of ``pmset -g``; Macs with three modes call it ``powermode 1``."""
    mode = re.search(r"^\s*(?:lowpowermode|powermode)\s+(\d+)", text, re.M)
    return None if mode is None else int(mode[1]) == 1


def advice(machine: Machine, wheels: Mapping[str, str], mac: Mac | None) -> tuple[str, ...]:
    """Return what a user should know or change.

    Args:
        wheels: Tags of MLX's packages, e.g. ``py3-none-macosx_15_0_arm64``.
        mac: None on another system.
    """
    found = []
    if _generation(machine) >= FIRST_WITH_NEURAL_ACCELERATORS:
        wheel = re.search(r"macosx_(\d+)", wheels.get("mlx-metal", ""))
        if machine.macos[:2] in WRONG_WITH_MLX:
            found.append(
                "update to macOS 26.2: with older ones MLX's results are wrong on this chip"
            )
        elif wheel is not None and int(wheel[1]) < 26:
            found.append(
                f"MLX's wheel for macOS {wheel[1]} does not use this chip's neural "
                "accelerators: update to macOS 26.2, then install mlx again"
            )
    if "paravirtual" in machine.device.lower():
        found.append("this is a virtual machine's GPU: its speed is not a Mac's")
    if mac is not None and mac.rosetta:
        found.append("this Python runs under Rosetta: install one for Apple silicon")
    if mac is not None and mac.low_power:
        found.append("Low Power Mode is on: everything is slower")
    if mac is not None and mac.thermal not in ("nominal", "unknown"):
        found.append(f"the Mac is hot ({mac.thermal}): everything is slower")
    return tuple(found)


def _generation(machine: Machine) -> int:
    """Return the GPU's generation by MLX's count; 0 for other GPUs."""
    named = re.match(r"applegpu_g(\d+)", machine.architecture)
    return int(named[1]) if named else 0


def _output(*command: str) -> str:
    """Return the output of a macOS program; an empty text if it is missing or fails."""
    try:
        # S603: the commands are constants of this file.
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""
