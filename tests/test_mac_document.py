from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_mlx.device import Machine
from gptoss_mlx.model.memory import (
    cache_limit_bytes,
    chunk_tokens,
    wired_limit_bytes,
)
from gptoss_mlx.model_choice import plan_for

DOCUMENT = Path(__file__).parents[1] / "docs" / "mac.md"
GIB = 1 << 30

# Chip, memory and what a program may use of it in GiB, macOS.
MACS = [
    ("M1", 8, 5.33, (14, 7)),
    ("M2", 16, 10.67, (14, 7)),
    ("M5", 16, 10.67, (26, 2)),
    ("M3 Pro", 18, 12.0, (15, 6)),
    ("M4", 24, 16.0, (15, 6)),
    ("M1 Max", 32, 21.33, (14, 7)),
    ("M4 Pro", 48, 36.0, (15, 6)),
    ("M3 Max", 64, 48.0, (15, 6)),
    ("M2 Max", 96, 72.0, (15, 6)),
    ("M5 Max", 128, 96.0, (26, 2)),
    ("M2 Ultra", 192, 144.0, (14, 7)),
    ("M3 Ultra", 512, 384.0, (26, 2)),
]

MODELS = [("20b", "q8"), ("20b", "exact"), ("120b", "q8"), ("120b", "exact")]


def verdict(machine: Machine, size: str, recipe: str) -> str:
    """What a model needs there, and whether it has it."""
    found = plan_for(size, recipe, machine)
    plan = found.footprint
    needs = f"{plan.total_bytes / 1e9:.1f} GB"
    if not plan.fits:
        match found.verdict:
            case "raise":
                return f"{needs}, with {found.raised_mb:,} MB"
            case "stream":
                return f"{needs}, streams {100 * found.resident_fraction:.0f} %"
            case _:
                return f"{needs}, no"
    wired = wired_limit_bytes(
        machine,
        weights_bytes=plan.weights_bytes,
        other_bytes=plan.cache_bytes + plan.working_bytes,
    )
    return f"{needs}, wires {wired / 1e9:.1f}" if wired else f"{needs}, yes"


@pytest.mark.parametrize(("chip", "gib", "limit", "macos"), MACS)
def test_the_table_of_macs_is_what_the_policy_says(
    chip: str, gib: int, limit: float, macos: tuple[int, ...]
) -> None:
    """Each cell of the row in docs/mac.md is computed from the policy."""
    machine = Machine(
        f"Apple {chip}", "gpu", "bfloat16", gib * GIB, int(limit * GIB), "", macos
    )
    cells = [
        f"{chip}, {gib} GB, macOS {macos[0]}",
        f"{machine.limit_bytes / 1e9:.1f} GB",
        f"{chunk_tokens(machine):,} / {chunk_tokens(machine, 60_000):,}",
        f"{cache_limit_bytes(machine) >> 20:,} MiB",
        *(verdict(machine, size, recipe) for size, recipe in MODELS),
    ]

    assert f"| {' | '.join(cells)} |" in DOCUMENT.read_text(encoding="utf-8").splitlines()
