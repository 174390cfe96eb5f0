"""Measures a streamed model: python tests/streaming_figures.py MODEL --memory-budget 8GB.

A process of its own loads MODEL, fills the cache with ``--context`` tokens, prefills a
prompt of ``--prompt`` tokens and decodes ``--tokens`` more. Its anonymous memory is sampled
meanwhile: a budget is about that, as files in the page cache make room. For Linux.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from anonymous_memory import anonymous_peak_bytes

__all__ = ["measure", "run"]


def run(folder: Path, asked: dict[str, int], **options: object) -> dict[str, object]:
    """Load and compute in this process; return what it took."""
    import mlx.core as mx
    import numpy as np

    from gptoss_mlx.checkpoint.folder import open_checkpoint
    from gptoss_mlx.generation.engine import generate
    from gptoss_mlx.generation.model_source import load_source
    from gptoss_mlx.generation.request import Request
    from gptoss_mlx.generation.sampling import Sampling
    from gptoss_mlx.generation.stops import Stops

    began = time.perf_counter()
    source = load_source(open_checkpoint(folder), **options)  # type: ignore[arg-type]
    load_s = time.perf_counter() - began
    config, cache = source.model.config, source.cache
    random = np.random.RandomState(0)
    context = random.randint(0, config.vocab_size, asked["context"]).tolist()
    prompt = random.randint(0, config.vocab_size, asked["prompt"]).tolist()
    dtype = source.model.model.norm.weight.dtype
    if context:
        shape = (1, config.num_key_value_heads, len(context), config.head_dim)
        for layer in cache.layers:
            layer.update_and_fetch(mx.zeros(shape, dtype), mx.zeros(shape, dtype))
            mx.eval(layer.state)
        cache.tokens = list(context)
    request = Request(
        context + prompt,
        sampling=Sampling(temperature=0),
        stops=Stops(frozenset(), (), asked["tokens"]),
    )
    began = time.perf_counter()
    times, ids = [], []
    for token in generate(source.model, request, cache=cache):
        times.append(time.perf_counter() - began)
        ids.append(token.token)
    told: dict[str, object] = {
        "load_s": round(load_s, 2),
        "first_token_s": round(times[0], 2),
        "tokens_per_s": round((len(ids) - 1) / (times[-1] - times[0]), 2),
        "ids": ids,
        "mlx_peak_bytes": mx.get_peak_memory(),
    }
    if (streaming := source.model.streaming) is not None:
        stats = streaming.stats
        told |= {
            "slots": streaming.slots,
            "slots_bytes": streaming.nbytes,
            "hit_rate": round(stats.hit_rate, 3),
            "bytes_read": stats.bytes_read,
            "stall_s": round(stats.stall_s, 2),
        }
    return told


def measure(arguments: list[str]) -> dict[str, object]:
    """Run this file in a process of its own; add its most anonymous memory."""
    command = [sys.executable, __file__, *arguments, "--here"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak_bytes = anonymous_peak_bytes(process)
    if process.returncode or process.stdout is None:
        raise SystemExit(f"{command} ended with {process.returncode}")
    told: dict[str, object] = json.loads(process.stdout.read())
    return told | {"anonymous_peak_bytes": peak_bytes}


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--memory-budget")
    parser.add_argument("--resident", type=float)
    parser.add_argument("--context", type=int, default=4_096)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=5)
    parser.add_argument("--here", action="store_true", help="in this process")
    asked = parser.parse_args()
    if asked.here:
        sizes = {name: getattr(asked, name) for name in ("context", "prompt", "tokens")}
        budget, resident = asked.memory_budget, asked.resident
        told = run(asked.model, sizes, memory_budget=budget, resident=resident)
    else:
        told = measure(sys.argv[1:])
    sys.stdout.write(json.dumps(told, indent=None if asked.here else 2) + "\n")


if __name__ == "__main__":
    main()
