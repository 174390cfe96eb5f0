from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gptoss_mlx import memory_pressure
from gptoss_mlx.memory_pressure import (
    PressureWatch,
    is_short_of_memory,
    macos_level,
    stalled_percent,
)

CALM = (
    "some avg10=30.00 avg60=1.00 avg300=0.10 total=13\nfull avg10=0.00 avg60=0.0 total=6\n"
)


def c_library(level: int, *, failed: int = 0) -> ctypes.CDLL:
    """A C library that answers with this level."""

    def sysctlbyname(name: bytes, old: Any, length: Any, new: None, size: Any) -> int:
        assert name == b"kern.memorystatus_vm_pressure_level"
        assert length._obj.value == 4
        old._obj.value = level
        return failed

    return cast(ctypes.CDLL, SimpleNamespace(sysctlbyname=sysctlbyname))


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        (CALM, 0.0),
        (CALM.replace("full avg10=0.00", "full avg10=12.50"), 12.5),
        ("some avg10=99.00 avg60=0 avg300=0 total=1\n", 0.0),
        ("full avg10=much\n", 0.0),
        ("full\n\n", 0.0),
        ("", 0.0),
    ],
)
def test_what_linux_tells(tmp_path: Path, text: str, percent: float) -> None:
    """The share of time in which everything waited; nothing is no pressure."""
    file = tmp_path / "memory"
    file.write_text(text)

    assert stalled_percent(file) == percent
    assert stalled_percent(tmp_path / "missing") == 0.0


def test_what_macos_tells() -> None:
    """The level; 0 if it refuses."""
    assert macos_level(c_library(4)) == 4
    assert macos_level(c_library(4, failed=-1)) == 0


@pytest.mark.parametrize(("level", "short"), [(1, False), (2, True), (4, True), (0, False)])
def test_a_mac_is_short_from_a_warning_on(
    monkeypatch: pytest.MonkeyPatch, level: int, short: bool
) -> None:
    """Normal is 1, a warning 2, critical 4."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda name: c_library(level))

    assert is_short_of_memory() is short


def test_linux_is_short_from_a_tenth_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of the last ten seconds."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory_pressure, "PSI", tmp_path / "memory")
    found = []
    for percent in ("9.99", "10.01"):
        (tmp_path / "memory").write_text(f"full avg10={percent} total=6\n")
        found.append(is_short_of_memory())

    assert found == [False, True]


def test_it_looks_once_a_second_however_often_it_is_asked() -> None:
    """It tells each second anew while memory stays short, and remembers between."""
    now_s, looks = 0.0, 0
    short = False

    def look() -> bool:
        nonlocal looks
        looks += 1
        return short

    watch = PressureWatch(look, lambda: now_s)
    told, remembered = [], []
    for step in range(80):
        now_s = step / 10
        short = 2 <= now_s < 4 or now_s >= 6
        if watch.look():
            told.append(now_s)
        if watch.was_short:
            remembered.append(now_s)

    assert told == [2.0, 3.0, 6.0, 7.0]
    assert remembered == [step / 10 for step in (*range(20, 40), *range(60, 80))]
    assert looks == 8
