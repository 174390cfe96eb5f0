"""Make the golden logits in tests/data/golden from OpenAI's torch reference.

Needs torch and gpt-oss: `make parity` sets them up, `make golden` runs this.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from golden import CASES, FOLDER, POSITIONS, ROPE_POSITIONS, tokens_of, write_case
from reference import openai_logits, openai_rotation


def main() -> None:
    """Write one file a case, and one of the rotation."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    inv_freq, cos, sin = openai_rotation(ROPE_POSITIONS.max() + 1)
    np.savez_compressed(
        FOLDER / "rope.npz",
        inv_freq=inv_freq,
        cos=cos[ROPE_POSITIONS],
        sin=sin[ROPE_POSITIONS],
    )
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            sha256 = write_case(case, Path(folder))
            logits = openai_logits(Path(folder), tokens_of(case))
        np.savez_compressed(FOLDER / f"{case}.npz", logits=logits[POSITIONS], sha256=sha256)
        sys.stderr.write(f"{case}: {len(POSITIONS)} positions\n")


if __name__ == "__main__":
    main()
