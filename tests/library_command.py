"""``gptoss-mlx library``, run in this process on a folder of notes."""

from __future__ import annotations

from program import Done, run_here

__all__ = ["LEASE", "library"]

LEASE = """# Lease

The flat has two rooms.

## Heating

The tenant pays the heating costs by the tenth of each month.
"""


def library(*arguments: str) -> Done:
    """Run ``gptoss-mlx library``."""
    return run_here("library", *arguments)
