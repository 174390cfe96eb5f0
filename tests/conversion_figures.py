"""Times conversions beside ``cp``.

Usage: python tests/conversion_figures.py SOURCE WORK [RECIPE...]

Each round copies SOURCE into WORK and syncs it, then converts it by each recipe, with one
result on the disk at a time and the page cache dropped before each (as root; else only the
files of SOURCE are). The wall time includes the sync; the memory is the most anonymous
memory of the process. ``mlx-lm`` for a recipe stands for its own ``convert`` to the widths
of ``q8``. For Linux, on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from anonymous_memory import anonymous_peak_bytes

__all__ = ["run_apart"]

DROP = Path("/proc/sys/vm/drop_caches")

MLX_LM = """
import sys
from mlx_lm import convert
convert(sys.argv[1], sys.argv[2], quantize=True, q_bits=8, q_group_size=64)
"""


def run_apart(command: list[str]) -> tuple[float, int]:
    """Run a command and sync.

    Returns:
        Seconds, and the most bytes of anonymous memory that it had.
    """
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)
    peak_bytes = anonymous_peak_bytes(process)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    os.sync()
    return time.monotonic() - began, peak_bytes


def drop_caches(source: Path) -> None:
    """Forget what the system keeps of files, of ``source`` at least."""
    os.sync()
    if os.access(DROP, os.W_OK):
        DROP.write_text("3")
        return
    for path in source.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("work", type=Path, help="an empty folder, or a new one")
    parser.add_argument("recipe", nargs="*", default=["exact", "q8"])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    result = asked.work / "result"
    os.environ["GPTOSS_MLX_HOME"] = str(asked.work / "home")
    commands = {"cp": ["cp", "-r", str(asked.source), str(result)]}
    for recipe in asked.recipe:
        ours = [sys.executable, "-m", "gptoss_mlx", "convert", str(asked.source)]
        ours += [str(result), "--recipe", recipe]
        theirs = [sys.executable, "-c", MLX_LM, str(asked.source), str(result)]
        commands[recipe] = theirs if recipe == "mlx-lm" else ours
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in commands}
    for _ in range(asked.rounds):
        for name, command in commands.items():
            drop_caches(asked.source)
            found[name].append(run_apart(command))
            shutil.rmtree(result)
    for name, figures in found.items():
        seconds = [figure[0] for figure in figures]
        ratio = statistics.median(
            s / of_cp for s, (of_cp, _) in zip(seconds, found["cp"], strict=True)
        )
        print(  # noqa: T201 - the figures
            f"{name}: {statistics.median(seconds):.1f} s "
            f"({', '.join(f'{s:.1f}' for s in seconds)}), {ratio:.2f} x cp, "
            f"at most {max(figure[1] for figure in figures) / 1e6:.0f} MB anonymous"
        )


if __name__ == "__main__":
    main()
