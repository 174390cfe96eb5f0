"""Compare our logits with OpenAI's torch reference and transformers, live, in float32.

Needs torch, transformers and gpt-oss: `make parity` sets them up and runs this.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

# Before MLX is imported: its default turns float32 products into TF32 on some devices.
os.environ["MLX_ENABLE_TF32"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1]))

import mlx.core as mx
import numpy as np
from golden import CASES, prefill_logits, tokens_of, write_case
from reference import openai_logits, transformers_logits

from gptoss_mlx import load_model

BOUNDS = {48: 1e-4, 1_500: 5e-4}


def main() -> int:
    """Print a line a comparison; return 1 if one is out of bounds."""
    passed = failed = 0
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_case(case, folder)
            tokens = tokens_of(case)
            ours = prefill_logits(load_model(folder, dtype=mx.float32), tokens)
            theirs = {
                "openai/gpt-oss torch": openai_logits(folder, tokens),
                "transformers": transformers_logits(folder, tokens),
            }
        for oracle, logits in theirs.items():
            for length, bound in BOUNDS.items():
                worst = float(np.abs(ours[:length] - logits[:length]).max())
                is_right = worst <= bound
                passed, failed = passed + is_right, failed + (not is_right)
                sys.stdout.write(
                    f"{'ok  ' if is_right else 'FAIL'} {case} against {oracle}, "
                    f"{length} tokens: {worst:.1e} (at most {bound:.0e})\n"
                )
    sys.stdout.write(f"{passed} passed, {failed} failed\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
