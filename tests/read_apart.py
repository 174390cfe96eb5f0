"""Documents that are read in a process of its own, whose memory is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

__all__ = ["PEAK_BYTES", "SECONDS", "read_apart"]

SECONDS = 60.0  # of a machine that has other work
PEAK_BYTES = 400 << 20

# Its arguments are the documents.
READ_AND_PRINT = """
import json, resource, sys, time
from pathlib import Path
from gptoss_mlx.errors import UnreadableDocumentError
from gptoss_mlx.library.reading import read_document
found = []
for path in sys.argv[1:]:
    began = time.perf_counter()
    try:
        result = len(read_document(Path(path)).lines)
    except UnreadableDocumentError as error:
        result = error.reason
    found.append([result, time.perf_counter() - began])
if sys.platform == "darwin":
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
else:
    # ru_maxrss would count the memory of the process that started this one.
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
print(json.dumps([found, peak]))
"""


def read_apart(*paths: Path) -> tuple[list[tuple[str | int, float]], int]:
    """Read documents in a process of its own.

    Returns:
        The number of lines of each, or the reason why there are none, and the seconds that
        it took; and the process's most memory in bytes.
    """
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_PRINT, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=SECONDS * len(paths),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, peak_bytes = json.loads(done.stdout)
    return found, peak_bytes
