"""Whether this machine is short of memory at the moment."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["PressureWatch", "is_short_of_memory"]

INTERVAL_S = 1.0

# Linux: the share of the last ten seconds in which all tasks waited for memory, in percent.
# https://docs.kernel.org/accounting/psi.html
PSI = Path("/proc/pressure/memory")
MOST_STALLED_PERCENT = 10.0

# macOS: 1 is normal, 2 a warning, 4 critical.
SYSCTL = b"kern.memorystatus_vm_pressure_level"
WARNING = 2


def is_short_of_memory() -> bool:
    """Whether the system says that memory is short; False where it does not tell."""
    if sys.platform == "darwin":
        return macos_level(ctypes.CDLL(None)) >= WARNING
    return stalled_percent(PSI) > MOST_STALLED_PERCENT


def stalled_percent(file: Path) -> float:
    """Return ``full avg10`` of Linux's pressure file; 0 if there is none."""
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return 0.0
    for line in text.splitlines():
        words = line.split()
        found = dict(word.partition("=")[::2] for word in words)
        if words[:1] == ["full"] and "avg10" in found:
            try:
                return float(found["avg10"])
            except ValueError:
                return 0.0
    return 0.0


def macos_level(library: ctypes.CDLL) -> int:
    """Return macOS's level of memory pressure; 0 if it does not tell.

    It is asked directly: a process for ``sysctl`` each second would cost 5 ms.

    Args:
        library: The C library.
    """
    level = ctypes.c_uint32(0)
    length = ctypes.c_size_t(ctypes.sizeof(level))
    failed = library.sysctlbyname(
        SYSCTL, ctypes.byref(level), ctypes.byref(length), None, ctypes.c_size_t(0)
    )
    return 0 if failed else level.value


class PressureWatch:
    """Looks whether memory is short, once a second at most.

    Args:
        is_short: Tells whether memory is short.
        clock: Tells the time in seconds.

    Attributes:
        was_short: Whether memory was short when it looked last.
    """

    def __init__(
        self,
        is_short: Callable[[], bool] = is_short_of_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_short = is_short
        self._clock = clock
        self._looked_s = clock() - INTERVAL_S
        self.was_short = False

    def look(self) -> bool:
        """Look, if a second has passed; whether it looked and memory is short."""
        now_s = self._clock()
        if now_s - self._looked_s < INTERVAL_S:
            return False
        self._looked_s = now_s
        self.was_short = self._is_short()
        return self.was_short
