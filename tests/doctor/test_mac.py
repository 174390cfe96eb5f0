from __future__ import annotations

import platform
import subprocess
from typing import Any

import pytest

from gptoss_mlx.device import Machine
from gptoss_mlx.doctor import mac
from gptoss_mlx.doctor.mac import Mac, advice, low_power_mode, thermal_state, whole_number

COOL = Mac(wired_limit_mb=0, rosetta=False, thermal="nominal", low_power=False)

NO_WARNING = """\
Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
Note: No CPU power status has been recorded
"""
INTEL = """\
Note: No thermal warning level has been recorded
2026-08-01 10:00:00 +0200 CPU Power notify
\tCPU_Scheduler_Limit \t= 100
\tCPU_Available_CPUs \t= 8
\tCPU_Speed_Limit \t= {}
"""
SETTINGS = """\
System-wide power settings:
Currently in use:
 standby              1
 Sleep On Power Button 1
 hibernatefile        /var/vm/sleepimage
 sleep                1 (sleep prevented by powerd)
 {}
 ttyskeepawake        1
"""


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (NO_WARNING, "nominal"),
        (INTEL.format(100), "nominal"),
        (INTEL.format(62), "slowed to 62 %"),
        ("Thermal Warning Level = 2\n", "warning level 2"),
        ("Thermal Warning Level = 0\n", "nominal"),
        ("", "unknown"),
        ("Usage: pmset <options>\n", "unknown"),
    ],
)
def test_what_pmset_says_of_heat(text: str, state: str) -> None:
    """On Apple silicon and on Intel; other output is unknown."""
    assert thermal_state(text) == state


@pytest.mark.parametrize(
    ("line", "on"),
    [
        ("lowpowermode         0", False),
        ("lowpowermode         1", True),
        ("powermode            0", False),
        ("powermode            1", True),
        ("powermode            2", False),
        ("womp                 1", None),
    ],
)
def test_what_pmset_says_of_low_power_mode(line: str, on: bool | None) -> None:
    """Macs with three modes count them: 1 is low, 2 is high."""
    assert low_power_mode(SETTINGS.format(line)) is on


@pytest.mark.parametrize(
    ("text", "number"), [("14000\n", 14_000), ("0\n", 0), ("", None), ("on\n", None)]
)
def test_what_sysctl_says(text: str, number: int | None) -> None:
    """A number, or None."""
    assert whole_number(text) == number


def machine(architecture: str, macos: tuple[int, ...], device: str = "Apple M5") -> Machine:
    """A Mac of 32 GB."""
    return Machine(device, "gpu", "bfloat16", 2**35, 2**34, architecture, macos)


@pytest.mark.parametrize(
    ("architecture", "macos", "wheel", "told"),
    [
        ("applegpu_g17g", (26, 0), "26", "update to macOS 26.2"),
        ("applegpu_g17s", (26, 1, 1), "26", "update to macOS 26.2"),
        ("applegpu_g18p", (26, 2), "15", "MLX's wheel for macOS 15 does not use"),
        ("applegpu_g17g", (15, 7), "14", "MLX's wheel for macOS 14 does not use"),
        ("applegpu_g17g", (26, 2), "26", None),
        ("applegpu_g16g", (26, 0), "15", None),
        ("air64_v27", (26, 0), "15", None),
    ],
)
def test_what_an_m5_is_told(
    architecture: str, macos: tuple[int, ...], wheel: str, told: str | None
) -> None:
    """Two releases of macOS, and wheels for those before; older chips are told nothing."""
    wheels = {"mlx-metal": f"py3-none-macosx_{wheel}_0_arm64"}
    lines = advice(machine(architecture, macos), wheels, COOL)

    assert len(lines) == (told is not None)
    assert all(told is not None and line.startswith(told) for line in lines)


@pytest.mark.parametrize(
    ("device", "state", "told"),
    [
        ("Apple Paravirtual device", COOL, "this is a virtual machine's GPU"),
        ("Apple M4", Mac(0, True, "nominal", False), "this Python runs under Rosetta"),
        ("Apple M4", Mac(0, False, "nominal", True), "Low Power Mode is on"),
        ("Apple M4", Mac(0, False, "slowed to 62 %", False), "the Mac is hot"),
    ],
)
def test_what_else_is_told(device: str, state: Mac, told: str) -> None:
    """Each advice is one line."""
    (line,) = advice(machine("applegpu_g16g", (26, 2), device), {}, state)

    assert line.startswith(told)


def test_nothing_to_tell() -> None:
    """A Mac as it should be, whatever macOS does not say; another system."""
    quiet = Mac(None, None, "unknown", None)

    assert advice(machine("applegpu_g16g", (15, 6)), {}, quiet) == ()
    assert advice(Machine("CPU", "cpu", "float32", 2**35, 2**34), {}, None) == ()


def test_programs_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is unknown, and no error is raised."""

    def missing(*given: Any, **named: Any) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(subprocess, "run", missing)

    assert mac.read_mac() == Mac(None, None, "unknown", None)


def test_another_system_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to tell of a Mac."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")

    assert mac.read_mac() is None
