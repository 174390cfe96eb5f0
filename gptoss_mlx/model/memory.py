"""Memory settings for each machine: the whole policy, as pure functions.

docs/mac.md has a table of the results for twelve Macs, and the reasons.
"""

from __future__ import annotations

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.device import Machine

__all__ = [
    "cache_limit_bytes",
    "can_wire",
    "chunk_tokens",
    "raised_limit_mb",
    "wired_limit_bytes",
    "working_bytes",
]

GIB = 1 << 30

CHUNKS = (2_048, 1_024, 512, 256)

# One attention kernel over more than this many pairs of query and key runs for so long
# that macOS stops it ("Impacting Interactivity") on an M1.
MOST_PAIRS = 1 << 25

# MLX queues up to ten command buffers, and a layer of a prefill fills one or two.
LAYERS_IN_FLIGHT = 8

# Python, its packages and the vocabulary.
PROGRAM_BYTES = 200_000_000

# Memory left to macOS and other programs when the limit is raised.
LEFT_TO_MACOS_BYTES = 2 * GIB


def chunk_tokens(machine: Machine, offset: int = 0) -> int:
    """Return how many tokens of a prompt to prefill at once.

    A chunk reads every expert once, so a long one is faster on a GPU. It also takes more
    memory.

    Args:
        machine: The machine to run on.
        offset: Tokens in the cache.
    """
    if machine.kind == "cpu":
        return 512  # measured: longer ones are not faster
    most = 512
    if machine.memory_bytes >= 20 * GIB:
        most = 1_024
    if machine.memory_bytes >= 30 * GIB:
        most = 2_048
    for chunk in CHUNKS:
        if chunk <= most and (offset + chunk) * chunk <= MOST_PAIRS:
            return chunk
    return CHUNKS[-1]


def cache_limit_bytes(machine: Machine) -> int:
    """Return how much freed memory MLX may keep for later.

    Without a limit, MLX keeps all freed memory: up to 0.95 of Metal's recommendation.
    """
    return min(max(machine.memory_bytes // 32, 256 << 20), GIB)


def working_bytes(config: ModelConfig, machine: Machine) -> int:
    """Estimate the memory for computing, besides weights, keys and values, at most.

    It is the program, the freed memory that MLX keeps, and the layers in flight.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    H, Hk, D = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    attention = 2 * (H + 2 * Hk) * D + H * D + 3 * hidden
    experts = config.num_experts_per_tok * (4 * hidden + 3 * inner)
    layers = LAYERS_IN_FLIGHT if machine.kind == "gpu" else 1
    values = layers * chunk_tokens(machine) * (attention + experts)
    return PROGRAM_BYTES + cache_limit_bytes(machine) + values * machine.value_bytes


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
