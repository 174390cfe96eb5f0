"""The anonymous memory of another process, while it runs. For Linux."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

__all__ = ["anonymous_peak_bytes"]


def anonymous_peak_bytes(process: subprocess.Popen[str]) -> int:
    """Wait for a process to end; return the most anonymous memory that it had."""
    status, peak_kb = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                peak_kb = max(peak_kb, int(line.split()[1]))
        time.sleep(0.02)
    return peak_kb << 10
