"""Time a prompt to its first token's logits, ours against mlx-lm's, in float32.

Two layers of gpt-oss-20b's width and random weights, in turn. It takes seven minutes of an
idle machine: ``.venv/bin/python tests/parity/prefill_speed.py``.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before MLX is imported: its default turns float32 products into TF32 on some devices.
os.environ["MLX_ENABLE_TF32"] = "0"
sys.path.insert(0, str(Path(__file__).parents[1]))

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.generate import generate_step
from side_by_side import mlx_lm_model, our_model

from gptoss_mlx.config import RELEASED
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.request import Request
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import Stops

CONFIG = replace(
    RELEASED["20b"],
    num_hidden_layers=2,
    layer_types=RELEASED["20b"].layer_types[:2],
    vocab_size=20_000,
)
# A run of 128 tokens varies by a tenth, so the median of three pairs does too.
PAIRS = {128: 9, 700: 1}
BOUND = 1.05


def filled(model: Any) -> Any:
    """Give a model random weights of a usual size, one at a time."""
    weights = []
    for name, like in dict(tree_flatten(model.parameters())).items():
        if like.dtype == mx.uint32:
            array = mx.random.randint(0, 2**31, like.shape, dtype=mx.uint32)
        elif like.dtype == mx.uint8:  # experts' exponents, of 2^-6
            array = mx.full(like.shape, 121, mx.uint8)
        elif name.endswith((".scales", ".biases")):  # 8 bits, from -0.025 to 0.025
            array = mx.full(like.shape, 2e-4 if name.endswith("scales") else -2.5e-2)
        elif "norm" in name:
            array = mx.ones(like.shape)
        else:
            array = mx.random.normal(like.shape) * 0.02
        mx.eval(array)
        weights.append((name, array))
    model.load_weights(weights)
    return model


def main() -> int:
    """Print a line a pair; return 1 if a median is over the bound."""
    mx.set_cache_limit(1 << 28)
    mx.random.seed(0)
    ours, theirs = filled(our_model(CONFIG)), filled(mlx_lm_model(CONFIG))
    random = np.random.default_rng(0)

    def read_ours(tokens: list[int]) -> None:
        greedy, one = Sampling(temperature=0), Stops(max_tokens=1)
        next(generate(ours, Request(tokens, sampling=greedy, stops=one)))

    def read_theirs(tokens: list[int]) -> None:
        next(generate_step(mx.array(tokens), theirs, max_tokens=1))

    def seconds(read: Callable[[list[int]], None], tokens: list[int]) -> float:
        begun = time.perf_counter()
        read(tokens)
        return time.perf_counter() - begun

    passed = True
    for read in (read_ours, read_theirs):
        read([1, 2, 3])
    for length, pairs in PAIRS.items():
        ratios = []
        for number in range(pairs):
            tokens = random.integers(3, CONFIG.vocab_size, length).tolist()
            order = [read_ours, read_theirs]
            took = {read: seconds(read, tokens) for read in order[:: (-1) ** number]}
            own, other = took[read_ours], took[read_theirs]
            ratios.append(own / other)
            sys.stdout.write(f"{length} tokens: {own:.1f} s, mlx-lm {other:.1f} s\n")
        ratio = statistics.median(ratios)
        passed &= ratio <= BOUND
        sys.stdout.write(
            f"{length} tokens: {ratio:.2f} of mlx-lm's time, at most {BOUND}\n"
        )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
