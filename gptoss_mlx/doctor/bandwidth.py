"""The memory bandwidth of a chip, which limits the speed of decoding.

Source: Apple's technical specifications of the Macs with each chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import mlx.core as mx
from mlx.utils import tree_flatten

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.model.transformer import Model

__all__ = ["BANDWIDTHS", "bandwidth_of", "bytes_per_token"]

BANDWIDTHS: Mapping[str, float] = {
    "M1": 68e9,
    "M1 Pro": 200e9,
    "M1 Max": 400e9,
    "M1 Ultra": 800e9,
    "M2": 100e9,
    "M2 Pro": 200e9,
    "M2 Max": 400e9,
    "M2 Ultra": 800e9,
    "M3": 100e9,
    "M3 Pro": 150e9,
    "M3 Max": 400e9,
    "M3 Ultra": 819e9,
    "M4": 120e9,
    "M4 Pro": 273e9,
    "M4 Max": 546e9,
    "M5": 153e9,
    "M5 Pro": 307e9,
    "M5 Max": 614e9,
}
"""Bytes per second by chip. A chip sold with fewer cores has the full chip's value."""


def bandwidth_of(device: str) -> float | None:
    """Return a chip's bytes per second; None for an unknown chip.

    Args:
        device: MLX's name, e.g. ``Apple M4 Pro``.
    """
    return BANDWIDTHS.get(device.removeprefix("Apple ").strip())


def bytes_per_token(
    model: Model, config: ModelConfig, context_tokens: int, value_bytes: int
) -> int:
    """Count the bytes read to decode one token: weights, keys and values.

    Args:
        model: The model, whose parameters show how they are packed.
        config: The model's shape.
        context_tokens: Tokens in the cache.
        value_bytes: Bytes of one number in the cache.
    """
    total = 0
    parameters = model.parameters()  # type: ignore[no-untyped-call]
    flat = cast("list[tuple[str, mx.array]]", tree_flatten(parameters))
    for name, parameter in flat:
        if ".experts." in name:
            used = config.num_experts_per_tok / config.num_local_experts
            total += int(parameter.nbytes * used)
        elif "embed_tokens" not in name:  # decoding reads one row of it
            total += parameter.nbytes
    seen = {"sliding_attention": min(context_tokens, config.sliding_window)}
    tokens = sum(seen.get(kind, context_tokens) for kind in config.layer_types)
    return total + 2 * tokens * config.num_key_value_heads * config.head_dim * value_bytes
