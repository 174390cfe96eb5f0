"""How many experts of each layer are in memory, and what else is if they are streamed."""

from __future__ import annotations

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.device import Machine
from gptoss_mlx.model.footprint import Weights, cache_bytes, expert_bytes
from gptoss_mlx.model.memory import (
    LEAST_CHUNK,
    PROGRAM_BYTES,
    Settings,
    chunk_tokens,
    transient_bytes,
)

__all__ = [
    "CARRIED_TOKENS",
    "STREAMING_CACHE_BYTES",
    "loaded_bytes",
    "slot_bytes",
    "slots_of",
    "streamed_bytes",
    "streaming_settings",
]

CARRIED_TOKENS = 8_192
"""The most tokens of a prompt whose hidden states are carried from layer to layer.

A longer prompt reads the experts that are not in memory once for as many tokens. On the
Macs that stream 120b, computing so many takes longer than reading all of its experts.
"""

STREAMING_CACHE_BYTES = 256 << 20
"""How much freed memory MLX may keep for later, when experts are streamed."""


def slots_of(config: ModelConfig, resident: float) -> int:
    """Return how many experts of each layer are a share of them, rounded down.

    A token needs ``num_experts_per_tok``, so there are never fewer.

    Args:
        config: The model's.
        resident: The share, over 0 and up to 1.

    Raises:
        ValueError: ``resident`` is out of its range.
    """
    if not 0 < resident <= 1:
        raise ValueError(f"resident must be over 0 and up to 1 but is {resident}.")
    # 0.29 of 100 is 29, though the product is 28.999999999999996.
    share = int(resident * config.num_local_experts + 1e-9)
    return max(share, config.num_experts_per_tok)


def slot_bytes(config: ModelConfig) -> int:
    """Count the bytes of one expert in each layer, but for their biases."""
    return config.num_hidden_layers * expert_bytes(config)


def loaded_bytes(weights: Weights) -> int:
    """Count the bytes of a streamed model's parameters: neither experts nor embedding."""
    return weights.dense_bytes - weights.embedding_bytes


def streaming_settings(machine: Machine) -> Settings:
    """Return the settings to run with if experts are streamed.

    A prompt goes layer by layer, so a short chunk reads no expert more often. On a CPU it
    keeps fewer scores; a GPU computes a long one faster.
    """
    chunk = LEAST_CHUNK if machine.kind == "cpu" else chunk_tokens(machine)
    return Settings(chunk, STREAMING_CACHE_BYTES)


def streamed_bytes(
    config: ModelConfig, machine: Machine, weights: Weights, context_tokens: int
) -> int:
    """Estimate the memory for all but the slots, if experts are streamed.

    Args:
        config: The model's.
        machine: The machine to run on.
        weights: All of its weights.
        context_tokens: Tokens of prompt and answer.
    """
    value_bytes = machine.value_bytes
    # States, normed states, outputs, float32 sums.
    carried = min(context_tokens, CARRIED_TOKENS) * config.hidden_size
    return (
        loaded_bytes(weights)
        + cache_bytes(config, context_tokens, value_bytes)
        + transient_bytes(
            config,
            machine,
            streaming_settings(machine),
            context_tokens=context_tokens,
            streams=True,
        )
        + carried * (3 * value_bytes + 4)
        + STREAMING_CACHE_BYTES
        + PROGRAM_BYTES
    )
