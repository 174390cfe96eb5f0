"""Estimates the memory for a model and a conversation before anything is loaded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, fields

from gptoss_mlx.config import ModelConfig, Quantization
from gptoss_mlx.device import Machine
from gptoss_mlx.model.cache import layer_cache
from gptoss_mlx.model.cache_window import MAX_WINDOWS
from gptoss_mlx.model.memory import (
    PROGRAM_BYTES,
    Settings,
    kept_bytes,
    settings_for,
    transient_bytes,
    working_bytes,
)
from gptoss_mlx.model.sliding_cache import SlidingCache

__all__ = [
    "Footprint",
    "QuantizationOf",
    "Weights",
    "cache_bytes",
    "expert_bytes",
    "footprint_of",
    "held_bytes",
    "longest_context_tokens",
    "token_weights_bytes",
    "weights_bytes",
    "weights_of",
]

QuantizationOf = Callable[[str, int], Quantization | None]
"""Returns how a recipe quantizes a module, given its path and number of columns."""

# An expert's weights: 4 bits per value, and a scale of 8 bits per 32 values.
MXFP4_BITS_PER_VALUE = 4.25


@dataclass(frozen=True, slots=True)
class Weights:
    """The bytes of a model's parameters, by part.

    Attributes:
        experts_bytes: The experts' MXFP4 blocks and scales, which can be streamed.
        expert_biases_bytes: The experts' biases, which stay resident.
        other_bytes: Routers, norms, sinks and the other biases.
    """

    embedding_bytes: int
    attention_bytes: int
    lm_head_bytes: int
    experts_bytes: int
    expert_biases_bytes: int
    other_bytes: int

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def dense_bytes(self) -> int:
        """All parts but the experts."""
        return self.total_bytes - self.experts_bytes


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory that a model needs, and the memory that a machine has.

    Attributes:
        weights: All parameters.
        cache_bytes: Keys and values of ``context_tokens``.
        transient_bytes: The layers that compute a chunk of the prompt, at most.
        freed_bytes: Freed memory that MLX keeps, at most.
        program_bytes: Python, its packages and the vocabulary.
        limit_bytes: Memory that a program may use on this machine.
        context_tokens: Tokens of the conversation in this estimate.
        longest_context_tokens: The longest context that fits; 0 if none does.
        settings: The settings that it holds for.
    """

    weights: Weights
    cache_bytes: int
    transient_bytes: int
    freed_bytes: int
    program_bytes: int
    limit_bytes: int
    context_tokens: int
    longest_context_tokens: int
    settings: Settings

    @property
    def weights_bytes(self) -> int:
        """All parameters."""
        return self.weights.total_bytes

    @property
    def working_bytes(self) -> int:
        """Memory for computing, besides weights, keys and values."""
        return self.transient_bytes + self.freed_bytes + self.program_bytes

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
    settings: Settings | None = None,
) -> Footprint:
    """Estimate the memory of a model with a conversation.

    Args:
        config: The model's shape, as released.
        quantization_of: The recipe's function.
        machine: The machine to run on.
        context_tokens: Tokens of prompt and answer together.
        settings: None: the machine's own; or, if it does not fit with these, the largest
            of ``settings_for`` with which it does.
    """
    weights = weights_of(config, quantization_of, machine.value_bytes)
    tried = settings_for(machine) if settings is None else [settings]
    found = [_footprint(config, weights, machine, context_tokens, one) for one in tried]
    return next((footprint for footprint in found if footprint.fits), found[0])


def _footprint(
    config: ModelConfig,
    weights: Weights,
    machine: Machine,
    context_tokens: int,
    settings: Settings,
) -> Footprint:
    return Footprint(
        weights=weights,
        cache_bytes=cache_bytes(config, context_tokens, machine.value_bytes),
        transient_bytes=transient_bytes(
            config, machine, settings, context_tokens=context_tokens
        ),
        freed_bytes=kept_bytes(machine, settings),
        program_bytes=PROGRAM_BYTES,
        limit_bytes=machine.limit_bytes,
        context_tokens=context_tokens,
        longest_context_tokens=longest_context_tokens(
            config, machine, left_bytes=machine.limit_bytes - weights.total_bytes
        ),
        settings=settings,
    )


def longest_context_tokens(
    config: ModelConfig, machine: Machine, *, left_bytes: int
) -> int:
    """Return the longest context for which enough memory is left; 0 if none is.

    It fits with the smallest of ``settings_for``.

    Args:
        config: The model's shape.
        machine: The machine to run on.
        left_bytes: Memory for keys, values and working, without the weights.
    """
    *_, least = settings_for(machine)

    def needed_bytes(tokens: int) -> int:
        working = working_bytes(config, machine, least, context_tokens=tokens)
        return cache_bytes(config, tokens, machine.value_bytes) + working

    tokens = range(1, config.max_position_embeddings + 1)
    return bisect_right(tokens, left_bytes, key=needed_bytes)


def held_bytes(config: ModelConfig, context_tokens: int, value_bytes: int = 2) -> int:
    """Count the bytes of keys and values themselves, without room to grow or windows."""
    token_bytes = 2 * config.num_key_value_heads * config.head_dim * value_bytes
    full = config.layer_types.count("full_attention")
    sliding = config.num_hidden_layers - full
    held = full * context_tokens + sliding * min(context_tokens, config.sliding_window)
    return held * token_bytes


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
    """Count the bytes of all parameters; see ``weights_of``."""
    return weights_of(config, quantization_of, value_bytes).total_bytes


def weights_of(
    config: ModelConfig, quantization_of: QuantizationOf, value_bytes: int = 2
) -> Weights:
    """Count the bytes of all parameters: experts in MXFP4, the rest as the recipe packs it.

    With 2 bytes per value this is the exact size of the files' data.

    Args:
        config: The model's shape.
        quantization_of: The recipe's function.
        value_bytes: Bytes of a value that is not quantized, and of a scale: 4 on a CPU,
            where all are converted to float32 when they are loaded.
    """

    def matrix(path: str, rows: int, columns: int) -> int:
        quantization = quantization_of(path, columns)
        if quantization is None:
            return rows * columns * value_bytes
        groups = rows * columns // quantization.group_size
        # MXFP4's scale is a byte; otherwise there are a scale and a bias.
        group_bytes = 1 if quantization.mode == "mxfp4" else 2 * value_bytes
        return rows * columns * quantization.bits // 8 + groups * group_bytes

    hidden, inner, D = config.hidden_size, config.intermediate_size, config.head_dim
    H, Hk = config.num_attention_heads, config.num_key_value_heads
    attention, routers, other = 0, 0, hidden  # the last norm
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}.self_attn"
        for name, rows in (("q_proj", H * D), ("k_proj", Hk * D), ("v_proj", Hk * D)):
            attention += matrix(f"{prefix}.{name}", rows, hidden)
            other += rows
        attention += matrix(f"{prefix}.o_proj", hidden, H * D)
        other += hidden + H + 2 * hidden  # a bias, sinks and norms
        router = f"model.layers.{layer}.mlp.router"
        routers += matrix(router, config.num_local_experts, hidden)
        other += config.num_local_experts  # the router's bias
    experts = config.num_hidden_layers * config.num_local_experts
    return Weights(
        embedding_bytes=matrix("model.embed_tokens", config.vocab_size, hidden),
        attention_bytes=attention,
        lm_head_bytes=matrix("lm_head", config.vocab_size, hidden),
        experts_bytes=experts * expert_bytes(config),
        expert_biases_bytes=experts * (2 * inner + hidden) * value_bytes,
        other_bytes=routers + other * value_bytes,
    )


def expert_bytes(config: ModelConfig) -> int:
    """Count the bytes of one expert's blocks and scales."""
    values = 3 * config.hidden_size * config.intermediate_size
    return int(values * MXFP4_BITS_PER_VALUE / 8)


def token_weights_bytes(config: ModelConfig, weights: Weights) -> int:
    """Count the bytes of weights that are read for each token that is written.

    Of the experts these are the ones that the router chooses, of the embedding one row.
    """
    chosen = config.num_hidden_layers * config.num_experts_per_tok
    read = weights.attention_bytes + weights.lm_head_bytes + weights.other_bytes
    biases = weights.expert_biases_bytes * config.num_experts_per_tok
    return read + biases // config.num_local_experts + chosen * expert_bytes(config)
