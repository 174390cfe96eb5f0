"""The buffers of the KV caches: made, grown, appended to and written.

MLX does not check bounds when it writes, so ``write`` does.
"""

from __future__ import annotations

import mlx.core as mx

from gptoss_mlx.errors import CacheError

__all__ = [
    "GROWTH",
    "STEP_TOKENS",
    "append",
    "check_trim",
    "copied",
    "make_buffer",
    "whole_steps",
    "write",
]

# Buffers grow by at least this many tokens, so that most steps write in place.
STEP_TOKENS = 256

# Full buffers also grow by this share of their room: with STEP_TOKENS alone, the old
# buffers of a long text would add up to its length times as many bytes.
GROWTH = 8


def copied(part: mx.array) -> mx.array:
    """Copy, so that the whole buffer can be freed."""
    return mx.contiguous(part)


def make_buffer(like: mx.array, tokens: int) -> mx.array:
    """Make a buffer for ``tokens`` tokens."""
    B, Hk, _, D = like.shape
    return mx.zeros((B, Hk, tokens, D), like.dtype)


def whole_steps(tokens: int) -> int:
    """Round ``tokens`` up to a multiple of ``STEP_TOKENS``."""
    return -(-tokens // STEP_TOKENS) * STEP_TOKENS


def append(held: mx.array, new: mx.array) -> mx.array:
    """Concatenate keys or values along the tokens.

    Raises:
        CacheError: Another dimension differs.
    """
    if held.shape[:2] != new.shape[:2] or held.shape[3] != new.shape[3]:
        raise CacheError(
            f"New keys must match the cache's shape {tuple(held.shape)} but for the "
            f"tokens, but have {tuple(new.shape)}."
        )
    return mx.concatenate([held, new], axis=2)


def write(buffer: mx.array, at: int, new: mx.array) -> None:
    """Write ``new`` into ``buffer`` from token ``at`` on.

    MLX does not check bounds when it writes: past the end it corrupts the heap.

    Raises:
        CacheError: ``new`` does not fit.
    """
    B, Hk, room, D = buffer.shape
    end = at + new.shape[2]
    if (new.shape[0], new.shape[1], new.shape[3]) != (B, Hk, D) or end > room:
        raise CacheError(
            f"Keys of shape {tuple(new.shape)} must fit a cache of shape "
            f"{tuple(buffer.shape)} from token {at} on but do not."
        )
    buffer[:, :, at:end] = new


def check_trim(n: int, trimmable_tokens: int) -> None:
    """Refuse to trim a negative number of tokens, or more than can be trimmed.

    Raises:
        CacheError: ``n`` is out of range.
    """
    if not 0 <= n <= trimmable_tokens:
        raise CacheError(f"trim must take from 0 to {trimmable_tokens} tokens but is {n}.")
