"""The bytes that decoding a token reads, which the memory bandwidth bounds."""

from __future__ import annotations

from typing import cast

import mlx.core as mx
from mlx.utils import tree_flatten

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.model.transformer import Model

__all__ = ["bytes_per_token"]


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
