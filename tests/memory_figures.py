"""Compares the peak memory of a model with the estimate, at several shares of its experts.

Usage: python tests/memory_figures.py RELEASE WORK [RECIPE...]

RELEASE is converted by one recipe after another into WORK (see ``synthetic_release``). For
each share of the experts a process of its own loads the model, fills the cache with 4,096
tokens, prefills a chunk of 32 tokens and decodes 4 more; its anonymous memory is sampled
meanwhile. The estimate is for that chunk, too. For Linux, on an idle machine.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from streaming_figures import measure

from gptoss_mlx.checkpoint.folder import Checkpoint, open_checkpoint
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.device import this_machine
from gptoss_mlx.model import memory
from gptoss_mlx.model.footprint import cache_bytes
from gptoss_mlx.model.memory import Settings
from gptoss_mlx.model.plan import plan_of
from gptoss_mlx.model.residency import loaded_bytes, slot_bytes, slots_of

__all__ = ["estimate"]

CONTEXT, CHUNK = 4_096, 32
SHARES = (1.0, 0.6, 0.3)


def estimate(checkpoint: Checkpoint, share: float) -> int:
    """Return the estimated peak, in bytes. All experts are loaded if the share is 1."""
    config, machine = checkpoint.config, this_machine()
    plan = plan_of(
        config, lambda module, columns: checkpoint.quantization_of(module), machine
    )
    weights, settings = plan.footprint.weights, Settings(CHUNK, 0)
    held = weights.total_bytes
    if share < 1:
        held = loaded_bytes(weights) + slots_of(config, share) * slot_bytes(config)
    return (
        held
        + cache_bytes(config, CONTEXT + CHUNK + 4, machine.value_bytes, max_windows=0)
        + memory.working_bytes(config, machine, settings, context_tokens=CONTEXT)
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("release", type=Path)
    parser.add_argument("work", type=Path, help="an empty folder, or a new one")
    parser.add_argument("recipe", nargs="*", default=["exact", "q8", "small"])
    asked = parser.parse_args()
    for recipe in asked.recipe:
        folder = asked.work / recipe
        convert_checkpoint(asked.release, folder, recipe=recipe)
        checkpoint = open_checkpoint(folder)
        for share in SHARES:
            options = [] if share == 1 else ["--resident", str(share)]
            context = str(CONTEXT)
            told = measure(
                [str(folder), "--context", context, "--prompt", str(CHUNK), *options]
            )
            measured, expected = told["anonymous_peak_bytes"], estimate(checkpoint, share)
            assert isinstance(measured, int)
            sys.stdout.write(
                f"{recipe}, {share:.0%} of the experts: {measured / 1e9:.2f} GB, estimated "
                f"{expected / 1e9:.2f} GB ({expected / measured - 1:+.1%})\n"
            )
            sys.stdout.flush()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
