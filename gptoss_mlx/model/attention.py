"""Attention with sinks, grouped heads and, on every other layer, a sliding window.

Source: AttentionBlock and sdpa in
https://github.com/openai/gpt-oss/blob/main/gpt_oss/torch/model.py
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import mlx.core as mx
import mlx.nn as nn

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.model.cache import Cache
from gptoss_mlx.model.linear import product, projection
from gptoss_mlx.model.rope import Rotation, concentration, rotate

__all__ = ["Attention", "Mask", "attention_mask"]

Mask = mx.array | Literal["causal"] | None


def attention_mask(L: int, K: int, window: int | None) -> Mask:
    """Return which keys each of the last ``L`` positions attends to.

    Args:
        L: Number of queries. The last query is at the last key's position.
        K: Number of keys, at least ``L``.
        window: How many keys a query attends to, its own included. None: all before it.

    Returns:
        None if every query attends to all keys, ``"causal"``, or bools of shape ``(L, K)``.
    """
    if L == 1 and (window is None or K <= window):
        return None
    if window is None or K <= window:
        return "causal"
    distance = mx.arange(K - L, K)[:, None] - mx.arange(K)[None]  # (L, K)
    return (distance >= 0) & (distance < window)


class Attention(nn.Module):
    """Self-attention of one layer: q, k and v in one product, rotation, sinks."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        self.num_attention_heads = heads
        self.num_key_value_heads = groups
        sliding = config.layer_types[layer] == "sliding_attention"
        self.window = config.sliding_window if sliding else None
        # The reference multiplies q and k by the concentration. Its square in the scale
        # is the same, costs nothing, and leaves plain rotated keys in the cache.
        self.scale = config.head_dim**-0.5 * concentration(config.rope_scaling) ** 2
        query = heads * config.head_dim
        width = query + 2 * groups * config.head_dim
        self.qkv_proj = nn.Linear(config.hidden_size, width)
        self.o_proj = nn.Linear(query, config.hidden_size)
        self.sinks = mx.zeros((heads,))

    def __call__(
        self,
        x: mx.array,
        residual: mx.array,
        mask: Mask,
        rotation: Rotation,
        cache: Cache | None = None,
    ) -> mx.array:
        """Compute attention for the last ``Q`` of ``L`` positions.

        Args:
            x: Normed hidden states. Shape ``(B, L, hidden_size)``.
            residual: The last ``Q`` hidden states, to which the output is added. Only these
                positions have queries; all ``L`` have keys and values. Shape
                ``(B, Q, hidden_size)``.
            mask: Result of ``attention_mask`` for ``Q`` queries.
            rotation: Rotation of the ``L`` positions.
            cache: The cache of earlier tokens; ``x`` is appended to it.

        Returns:
            Shape ``(B, Q, hidden_size)``.
        """
        B, L, _ = x.shape
        Q = residual.shape[1]
        H, Hk, D = self.num_attention_heads, self.num_key_value_heads, self.head_dim
        if Q == L:
            qkv = self._heads(self.qkv_proj(x))  # (B, H + 2 Hk, L, D)
            rotated = rotate(qkv[:, : H + Hk], rotation)  # q and k in one kernel
            queries, keys, values = rotated[:, :H], rotated[:, H:], qkv[:, H + Hk :]
        else:
            q = projection(self.qkv_proj, x[:, L - Q :], slice(0, H * D))
            kv = self._heads(projection(self.qkv_proj, x, slice(H * D, None)))
            queries = rotate(self._heads(q), rotation.last(Q))  # (B, H, Q, D)
            keys, values = rotate(kv[:, :Hk], rotation), kv[:, Hk:]  # (B, Hk, L, D)
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)
        # A sink is the logit of a key without a value: neither scaled nor masked.
        out = mx.fast.scaled_dot_product_attention(
            queries, keys, values, scale=self.scale, mask=mask, sinks=self.sinks
        )
        out = out.transpose(0, 2, 1, 3).reshape(B, Q, H * D)
        return _add(product(self.o_proj, out), self.o_proj.bias, residual)

    def _heads(self, x: mx.array) -> mx.array:
        """Cut ``(B, L, heads * D)`` into heads of shape ``(B, heads, L, D)``."""
        B, L, _ = x.shape
        return x.reshape(B, L, -1, self.head_dim).transpose(0, 2, 1, 3)


@partial(mx.compile, shapeless=True)
def _add(x: mx.array, bias: mx.array, residual: mx.array) -> mx.array:
    return residual + (x + bias)
