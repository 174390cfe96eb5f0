"""Estimates the memory for a model and a conversation before anything is loaded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from gptoss_mlx.config import ModelConfig, Quantization
from gptoss_mlx.device import Machine
from gptoss_mlx.model.cache import layer_cache
from gptoss_mlx.model.cache_window import MAX_WINDOWS
from gptoss_mlx.model.memory import working_bytes
from gptoss_mlx.model.sliding_cache import SlidingCache

__all__ = ["Footprint", "QuantizationOf", "cache_bytes", "footprint_of", "weights_bytes"]

QuantizationOf = Callable[[str, int], Quantization | None]
"""Returns how a recipe quantizes a module, given its path and number of columns."""

# An expert's weights: 4 bits per value, and a scale of 8 bits per 32 values.
MXFP4_BITS_PER_VALUE = 4.25


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory that a model needs, and the memory that a machine has.

    Attributes:
        weights_bytes: All parameters.
        cache_bytes: Keys and values of ``context_tokens``.
        working_bytes: Memory for computing, besides these.
        limit_bytes: Memory that a program may use on this machine.
        context_tokens: Tokens of the conversation in this estimate.
        longest_context_tokens: The longest context that fits; 0 if none does.
    """

    weights_bytes: int
    cache_bytes: int
    working_bytes: int
    limit_bytes: int
    context_tokens: int
    longest_context_tokens: int

    @property
    def total_bytes(self) -> int:
        """Weights, cache and working bytes together."""
        return self.weights_bytes + self.cache_bytes + self.working_bytes

    @property
    def fits(self) -> bool:
        """Whether it is within the limit."""
        return self.total_bytes <= self.limit_bytes


def footprint_of(
    config: ModelConfig,
    quantization_of: QuantizationOf,
    machine: Machine,
    *,
    context_tokens: int,
) -> Footprint:
    """Estimate the memory of a model with a conversation.

    Args:
        config: The model's shape, as released.
        quantization_of: The recipe's function.
        machine: The machine to run on.
        context_tokens: Tokens of prompt and answer together.
    """
    value_bytes = machine.value_bytes
    weights = weights_bytes(config, quantization_of, value_bytes)
    working = working_bytes(config, machine)
    longest = bisect_right(
        range(1, config.max_position_embeddings + 1),
        machine.limit_bytes - weights - working,
        key=lambda tokens: cache_bytes(config, tokens, value_bytes),
    )
    return Footprint(
        weights_bytes=weights,
        cache_bytes=cache_bytes(config, context_tokens, value_bytes),
        working_bytes=working,
        limit_bytes=machine.limit_bytes,
        context_tokens=context_tokens,
        longest_context_tokens=longest,
    )


def cache_bytes(
    config: ModelConfig,
    context_tokens: int,
    value_bytes: int = 2,
    *,
    max_windows: int = MAX_WINDOWS,
) -> int:
    """Count the bytes of keys and values.

    Args:
        config: The model's shape.
        context_tokens: Cached tokens.
        value_bytes: Bytes of one number.
        max_windows: How many windows of each sliding layer are kept.
    """
    token_bytes = 2 * config.num_key_value_heads * config.head_dim * value_bytes
    total = 0
    for kind in set(config.layer_types):
        cache = layer_cache(config, kind)
        nbytes = cache.nbytes_for(context_tokens, token_bytes=token_bytes)
        if isinstance(cache, SlidingCache):
            nbytes += max_windows * cache.window_nbytes_for(
                context_tokens, token_bytes=token_bytes
            )
        total += config.layer_types.count(kind) * nbytes
    return total


def weights_bytes(
    config: ModelConfig, quantization_of: QuantizationOf, value_bytes: int = 2
) -> int:
    """Count the bytes of all parameters: experts in MXFP4, the rest as the recipe packs it.

    With 2 bytes per value this is the exact size of the files' data.
    """

    def matrix(path: str, rows: int, columns: int) -> int:
        quantization = quantization_of(path, columns)
        if quantization is None:
            return rows * columns * value_bytes
        groups = rows * columns // quantization.group_size
        # One scale and one bias per group.
        return rows * columns * quantization.bits // 8 + 2 * groups * value_bytes

    hidden, inner, D = config.hidden_size, config.intermediate_size, config.head_dim
    H, Hk = config.num_attention_heads, config.num_key_value_heads
    total = hidden * value_bytes  # the last norm
    total += matrix("model.embed_tokens", config.vocab_size, hidden)
    total += matrix("lm_head", config.vocab_size, hidden)
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}.self_attn"
        for name, rows in (("q_proj", H * D), ("k_proj", Hk * D), ("v_proj", Hk * D)):
            total += matrix(f"{prefix}.{name}", rows, hidden) + rows * value_bytes
        total += matrix(f"{prefix}.o_proj", hidden, H * D) + hidden * value_bytes
        total += (H + 2 * hidden) * value_bytes  # sinks and norms
        expert = int(3 * hidden * inner * MXFP4_BITS_PER_VALUE / 8)
        expert += (2 * inner + hidden) * value_bytes  # biases
        router = (hidden + 1) * value_bytes
        total += config.num_local_experts * (expert + router)
    return total
