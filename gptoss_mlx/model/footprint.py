"""What a model and a conversation amount to in memory, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gptoss_mlx.config import ModelConfig, Quantization

__all__ = ["Packing", "Plan", "cache_bytes", "make_plan", "weights_bytes"]

Packing = Callable[[str, int], Quantization | None]
"""Says how a module's weight is packed, from its path and columns; a recipe has it."""

# An expert's weights: 4 bits a value, and a scale of 8 bits for 32 of them.
MXFP4_BITS_PER_VALUE = 4.25

# What MLX holds beside weights and cache: the buffers of a prefill of 512 tokens, its own
# cache of freed ones, and the program.
WORKING_BYTES = 700_000_000

SPARE_TOKENS = 64
"""What sliding layers hold beyond their window, so that they can go back a little."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a model needs beside what a machine has.

    Attributes:
        weights_bytes: All parameters.
        cache_bytes: Keys and values of ``context_tokens``.
        working_bytes: What computing takes beside them.
        limit_bytes: What the machine lets a program use.
        context_tokens: The conversation that is planned for.
        longest_context_tokens: The longest that fits; 0 if none does.
    """

    weights_bytes: int
    cache_bytes: int
    working_bytes: int
    limit_bytes: int
    context_tokens: int
    longest_context_tokens: int

    @property
    def total_bytes(self) -> int:
        """All of it together."""
        return self.weights_bytes + self.cache_bytes + self.working_bytes

    @property
    def fits(self) -> bool:
        """Whether it is within the limit."""
        return self.total_bytes <= self.limit_bytes


def make_plan(
    config: ModelConfig,
    packing: Packing,
    *,
    context_tokens: int,
    limit_bytes: int,
    value_bytes: int = 2,
) -> Plan:
    """Add up what a model needs for a conversation.

    Args:
        config: The model's shape, as released.
        packing: The recipe.
        context_tokens: Of prompt and answer together.
        limit_bytes: What the machine lets a program use; see ``memory.device``.
        value_bytes: Of a value that is not quantized: 2 in bf16, 4 where float32 is
            computed in.
    """
    weights = weights_bytes(config, packing, value_bytes)
    fixed = cache_bytes(config, 0, value_bytes)
    per_token = cache_bytes(config, 1, value_bytes) - fixed
    room = limit_bytes - weights - WORKING_BYTES - fixed
    longest = max(0, min(room // per_token, config.max_position_embeddings))
    return Plan(
        weights_bytes=weights,
        cache_bytes=cache_bytes(config, context_tokens, value_bytes),
        working_bytes=WORKING_BYTES,
        limit_bytes=limit_bytes,
        context_tokens=context_tokens,
        longest_context_tokens=longest,
    )


def cache_bytes(config: ModelConfig, context_tokens: int, value_bytes: int = 2) -> int:
    """Count the bytes of keys and values.

    Full layers hold every token; sliding layers hold their window and a little slack,
    whatever the context.
    """
    per_token = 2 * config.num_key_value_heads * config.head_dim * value_bytes
    full = config.layer_types.count("full_attention")
    sliding = len(config.layer_types) - full
    held = config.sliding_window + SPARE_TOKENS
    return per_token * (full * context_tokens + sliding * held)


def weights_bytes(config: ModelConfig, packing: Packing, value_bytes: int = 2) -> int:
    """Count the bytes of all parameters, experts in MXFP4, as a recipe packs the rest.

    With 2 bytes a value it is what the files hold, to the byte.
    """

    def matrix(path: str, rows: int, columns: int) -> int:
        quantization = packing(path, columns)
        if quantization is None:
            return rows * columns * value_bytes
        groups = rows * columns // quantization.group_size
        # A scale and a bias a group.
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
