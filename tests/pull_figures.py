"""Times ``pull`` beside curl and sha256sum, over localhost.

Usage: python tests/pull_figures.py SOURCE WORK [--rounds N]

SOURCE is a release (see ``synthetic_release``), converted to ``exact`` and ``q8`` once.
Then each round fetches ``exact`` by curl, file by file, and hashes it by sha256sum, and
fetches it by ``pull``, with the page cache dropped before each (as root). At the end
``exact`` is pulled once more where ``q8`` is there already.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from conversion_figures import drop_caches, run_apart
from shared_folder import serve_apart

OURS = [sys.executable, "-m", "gptoss_mlx"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("work", type=Path, help="an empty folder, or a new one")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    served = {name: asked.work / "served" / f"model-{name}" for name in ("exact", "q8")}
    os.environ["GPTOSS_MLX_HOME"] = str(asked.work / "home")
    for recipe, folder in served.items():
        convert = [*OURS, "convert", str(asked.source), str(folder), "--recipe", recipe]
        subprocess.run(convert, check=True, stdout=subprocess.DEVNULL)
    exact, home, by_curl = served["exact"], asked.work / "home", asked.work / "curl"
    digest = (exact / "manifest.sha256").read_text().split()[0]
    with serve_apart(*served.values()) as (port, _):
        address = f"http://127.0.0.1:{port}/{exact.name}"
        names = sorted(path.name for path in exact.iterdir())
        gets = " && ".join(f"curl -sSfO {address}/{name}" for name in names)
        curl = ["sh", "-c", f"mkdir {by_curl} && cd {by_curl} && {gets} && sha256sum *"]
        pull = [*OURS, "pull", f"{address}@{digest[:32]}"]
        ratios = []
        for _ in range(asked.rounds):
            drop_caches(exact)
            of_curl, _ = run_apart(curl)
            shutil.rmtree(by_curl)
            drop_caches(exact)
            of_pull, peak_bytes = run_apart(pull)
            shutil.rmtree(home)
            ratios.append(of_pull / of_curl)
            print(  # noqa: T201 - the figures
                f"curl and sha256sum {of_curl:.1f} s, pull {of_pull:.1f} s, "
                f"{ratios[-1]:.2f} x, at most {peak_bytes / 1e6:.0f} MB anonymous"
            )
        print(f"median {statistics.median(ratios):.2f} x")  # noqa: T201
        shutil.copytree(served["q8"], home / "models" / served["q8"].name)
        told = subprocess.run([*pull, "--json"], check=True, stdout=subprocess.PIPE)
        print(json.loads(told.stdout))  # noqa: T201


if __name__ == "__main__":
    main()
