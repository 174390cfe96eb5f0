"""Memory settings for each machine: the whole policy, as pure functions.

docs/mac.md has a table of the results for twelve Macs, and the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.device import Machine

__all__ = [
    "LEAST_CACHE_LIMIT_BYTES",
    "LEAST_CHUNK",
    "PROGRAM_BYTES",
    "Settings",
    "cache_limit_bytes",
    "can_wire",
    "chunk_tokens",
    "kept_bytes",
    "raised_limit_mb",
    "settings_for",
    "transient_bytes",
    "wired_limit_bytes",
    "working_bytes",
]

GIB = 1 << 30

CHUNKS = (2_048, 1_024, 512, 256, 128, 64, 32, 16)

# The smallest chunk to which a GPU's is reduced for a long context.
LEAST_GPU_CHUNK = 256

# One attention kernel over more than this many pairs of query and key runs for so long
# that macOS stops it ("Impacting Interactivity") on an M1.
MOST_PAIRS = 1 << 25

# MLX's CPU computes attention by way of all scores, three times in memory: 1.6 GB for
# this many pairs and 64 heads.
MOST_CPU_PAIRS = 1 << 21
CPU_SCORE_COPIES = 3
SCORE_BYTES = 4

# What a model that barely fits is reduced to: a chunk this short, and this much kept.
LEAST_CHUNK = 128
LEAST_CACHE_LIMIT_BYTES = 128 << 20

# MLX queues up to ten command buffers, and a layer of a prefill fills one or two. A layer
# that is streamed waits for its router.
LAYERS_IN_FLIGHT = 8
STREAMED_LAYERS_IN_FLIGHT = 2

# Python, its packages and the vocabulary.
PROGRAM_BYTES = 200_000_000

# Memory left to macOS and other programs when the limit is raised.
LEFT_TO_MACOS_BYTES = 2 * GIB


@dataclass(frozen=True, slots=True)
class Settings:
    """What a model's working memory depends on.

    Attributes:
        chunk_tokens: The most tokens of a prompt to prefill at once.
        cache_limit_bytes: How much freed memory MLX may keep.
    """

    chunk_tokens: int
    cache_limit_bytes: int


def settings_for(machine: Machine) -> Iterator[Settings]:
    """Yield the machine's settings, and then smaller ones for a model that barely fits.

    Each step halves the chunk and the freed memory. A shorter chunk reads the experts
    more often, so prompts take longer.
    """
    chunk, kept = chunk_tokens(machine), cache_limit_bytes(machine)
    yield Settings(chunk, kept)
    while chunk > LEAST_CHUNK or kept > LEAST_CACHE_LIMIT_BYTES:
        chunk = max(chunk // 2, LEAST_CHUNK)
        kept = max(kept // 2, LEAST_CACHE_LIMIT_BYTES)
        yield Settings(chunk, kept)


def chunk_tokens(machine: Machine, offset: int = 0, *, most: int | None = None) -> int:
    """Return how many tokens of a prompt to prefill at once.

    A chunk reads every expert once, so a long one is faster on a GPU. It also takes more
    memory.

    Args:
        machine: The machine to run on.
        offset: Tokens in the cache.
        most: A bound of ``Settings``. None: the machine's.
    """
    pairs, least = MOST_PAIRS, LEAST_GPU_CHUNK
    if most is None:
        most = 512
        if machine.kind == "gpu" and machine.memory_bytes >= 20 * GIB:
            most = 1_024
        if machine.kind == "gpu" and machine.memory_bytes >= 30 * GIB:
            most = 2_048
    if machine.kind == "cpu":
        most = min(most, 512)  # measured: longer ones are not faster
        pairs, least = MOST_CPU_PAIRS, CHUNKS[-1]
    for chunk in CHUNKS:
        if least <= chunk <= most and (offset + chunk) * chunk <= pairs:
            return chunk
    return min(least, most)


def cache_limit_bytes(machine: Machine) -> int:
    """Return how much freed memory MLX may keep for later.

    Without a limit, MLX keeps all freed memory: up to 0.95 of Metal's recommendation.
    """
    return min(max(machine.memory_bytes // 32, 256 << 20), GIB)


def transient_bytes(
    config: ModelConfig,
    machine: Machine,
    settings: Settings | None = None,
    *,
    context_tokens: int = 0,
    streams: bool = False,
) -> int:
    """Estimate the memory of the layers that compute a chunk, at most.

    Args:
        config: The model's shape.
        machine: The machine to run on.
        settings: None: the machine's own.
        context_tokens: Tokens in the cache at the end. Only a CPU needs memory for them.
        streams: Whether experts are streamed.
    """
    most = settings.chunk_tokens if settings is not None else chunk_tokens(machine)
    hidden, inner = config.hidden_size, config.intermediate_size
    H, Hk, D = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    attention = 2 * (H + 2 * Hk) * D + H * D + 3 * hidden
    experts = config.num_experts_per_tok * (4 * hidden + 3 * inner)
    layers = STREAMED_LAYERS_IN_FLIGHT if streams else LAYERS_IN_FLIGHT
    if machine.kind == "cpu":
        layers = 1
    values = layers * most * (attention + experts)
    if machine.kind == "gpu":
        return values * machine.value_bytes
    pairs = min(most * max(context_tokens, most), MOST_CPU_PAIRS)
    return values * machine.value_bytes + CPU_SCORE_COPIES * SCORE_BYTES * H * pairs


def kept_bytes(machine: Machine, settings: Settings | None = None) -> int:
    """Estimate the freed memory that MLX keeps beside the layers that compute.

    On a CPU the layers reuse it: 20b's width, 4,096 tokens and a chunk of 512 took 3 %
    less than weights, keys, transients and the program, and a chunk of 32 took 2 % less.

    Args:
        machine: The machine to run on.
        settings: None: the machine's own.
    """
    if machine.kind == "cpu":
        return 0
    return settings.cache_limit_bytes if settings else cache_limit_bytes(machine)


def working_bytes(
    config: ModelConfig,
    machine: Machine,
    settings: Settings | None = None,
    *,
    context_tokens: int = 0,
) -> int:
    """Estimate the memory for computing, besides weights, keys and values, at most.

    It is the program, the freed memory that MLX keeps, and the layers in flight.

    Args:
        config: As of ``transient_bytes``, like the others.
    """
    kept = kept_bytes(machine, settings)
    transients = transient_bytes(config, machine, settings, context_tokens=context_tokens)
    return PROGRAM_BYTES + kept + transients


def can_wire(machine: Machine) -> bool:
    """Whether MLX can wire memory: macOS 15 or newer, and not a virtual GPU."""
    return (
        machine.kind == "gpu"
        and machine.macos >= (15,)
        and "Paravirtual" not in machine.device
    )


def wired_limit_bytes(machine: Machine, *, weights_bytes: int, other_bytes: int) -> int:
    """Return how much memory to wire while a model answers; 0 for none.

    Without it macOS may compress or move weights between two tokens, which can cost most
    of the speed of a model that takes most of the memory. A small model's weights are not
    moved, and other programs need the memory.

    Args:
        machine: The machine to run on.
        weights_bytes: Bytes of the model's weights.
        other_bytes: Bytes of keys and values, and ``working_bytes``.
    """
    if not can_wire(machine) or 2 * weights_bytes <= machine.limit_bytes:
        return 0
    return min(machine.limit_bytes, weights_bytes + other_bytes)


def raised_limit_mb(machine: Machine, total_bytes: int) -> int | None:
    """Return the ``iogpu.wired_limit_mb`` that lets a program use ``total_bytes``.

    Returns:
        MiB, a multiple of 100. None if too little would be left to macOS, or if
        a program may already use as much.
    """
    if machine.kind != "gpu" or total_bytes <= machine.limit_bytes:
        return None
    mb = -(-total_bytes // (100 << 20)) * 100
    if (mb << 20) > machine.memory_bytes - LEFT_TO_MACOS_BYTES:
        return None
    return mb
