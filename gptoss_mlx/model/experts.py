"""Mixture of experts: router, clamped SwiGLU, MXFP4 weights as released.

Source: MLPBlock and swiglu in
https://github.com/openai/gpt-oss/blob/main/gpt_oss/torch/model.py
"""

from __future__ import annotations

from functools import lru_cache, partial

import mlx.core as mx
import mlx.nn as nn

from gptoss_mlx.config import MXFP4_BITS, MXFP4_GROUP_SIZE, ModelConfig

__all__ = ["Experts", "MixtureOfExperts", "clamped_swiglu"]

# From here on each expert is likely to serve several tokens, and sorting pays.
SORT_FROM_ROWS = 64


@partial(mx.compile, shapeless=True)
def _swiglu(
    gate: mx.array,
    up: mx.array,
    gate_bias: mx.array,
    up_bias: mx.array,
    alpha: float,
    limit: float,
) -> mx.array:
    gate = mx.minimum(gate + gate_bias, limit)
    up = mx.clip(up + up_bias, -limit, limit)
    return gate * mx.sigmoid(alpha * gate) * (up + 1)


@partial(mx.compile, shapeless=True)
def _weigh(out: mx.array, bias: mx.array, weights: mx.array) -> mx.array:
    return (out + bias) * weights


def clamped_swiglu(
    gate_up: mx.array, bias: mx.array, *, alpha: float = 1.702, limit: float = 7.0
) -> mx.array:
    """Apply gpt-oss's activation: clamp gate and up, then ``gate * sigmoid * (up + 1)``.

    Args:
        gate_up: Gate at even, up at odd places of the last axis. Shape ``(…, 2 I)``.
        bias: Added first. Shape ``(…, 2 I)``.
        alpha: Steepness of the gate's sigmoid.
        limit: The clamp of both. The gate has no lower clamp.

    Returns:
        Shape ``(…, I)``.
    """
    gate, up = gate_up[..., ::2], gate_up[..., 1::2]
    return _swiglu(gate, up, bias[..., ::2], bias[..., 1::2], alpha, limit)


@lru_cache(maxsize=SORT_FROM_ROWS)
def _row_numbers(N: int, K: int) -> tuple[mx.array, mx.array]:
    """Return which row each of ``(N, K)`` products reads: its token's, and its own.

    Cached, because MLX would make these arrays again in every product.
    """
    tokens = mx.repeat(mx.arange(N, dtype=mx.uint32), K).reshape(N, K)
    own = mx.arange(N * K, dtype=mx.uint32).reshape(N, K)
    mx.eval(tokens, own)  # a lazy array belongs to the thread that made it
    return tokens, own


class Experts(nn.Module):
    """Experts of a layer, with the names and the bytes of the release.

    ``*_blocks`` hold eight 4-bit values per uint32, ``(E, out, in / 8)``; ``*_scales`` one
    exponent per 32 values, ``(E, out, in / 32)``; ``*_bias`` ``(E, out)``.
    """

    def __init__(self, config: ModelConfig, count: int | None = None) -> None:
        """Make room for the weights.

        Args:
            count: Number of experts. None: all of the layer's.
        """
        super().__init__()
        E = config.num_local_experts if count is None else count
        inner = config.intermediate_size
        hidden = config.hidden_size
        self.alpha, self.limit = config.swiglu_alpha, config.swiglu_limit
        self.gate_up_proj_blocks = mx.zeros((E, 2 * inner, hidden // 8), mx.uint32)
        self.gate_up_proj_scales = mx.zeros(
            (E, 2 * inner, hidden // MXFP4_GROUP_SIZE), mx.uint8
        )
        self.gate_up_proj_bias = mx.zeros((E, 2 * inner))
        self.down_proj_blocks = mx.zeros((E, hidden, inner // 8), mx.uint32)
        self.down_proj_scales = mx.zeros((E, hidden, inner // MXFP4_GROUP_SIZE), mx.uint8)
        self.down_proj_bias = mx.zeros((E, hidden))

    def __call__(self, x: mx.array, indices: mx.array, weights: mx.array) -> mx.array:
        """Send each token to its experts, and add up their outputs.

        Args:
            x: Shape ``(N, hidden_size)``.
            indices: Experts of each token, below ``count``. Shape ``(N, K)``.
            weights: Weight of each expert's output. Shape ``(N, K)``.

        Returns:
            Shape ``(N, hidden_size)``.
        """
        return self._mix(x, indices, weights, indices)

    def _mix(
        self, x: mx.array, indices: mx.array, weights: mx.array, places: mx.array
    ) -> mx.array:
        """Compute the module's output.

        Args:
            places: The row of each expert's weight in ``_tensor``; its bias is in the row
                of its own number. Shape ``(N, K)``.
        """
        N, K = indices.shape
        bias = self.gate_up_proj_bias
        if N * K < SORT_FROM_ROWS:
            tokens, own = _row_numbers(N, K)
            gate_up = self._product(x[:, None], "gate_up_proj", places, rows=tokens)
            inner = self._activate(gate_up, bias[indices])  # (N, K, 1, I)
            out = self._product(inner, "down_proj", places, rows=own)
        else:
            flat = places.flatten()  # (N K,)
            order = mx.argsort(flat)
            flat = flat[order]
            experts = flat if places is indices else indices.flatten()[order]
            rows = x[order // K][:, None]  # (N K, 1, hidden_size)
            gate_up = self._product(rows, "gate_up_proj", flat)
            inner = self._activate(gate_up, bias[experts])  # (N K, 1, I)
            out = self._product(inner, "down_proj", flat)[mx.argsort(order)]
        out = out.reshape(N, K, -1)  # (N, K, hidden_size)
        return self._weighed(out, indices, weights[..., None]).sum(axis=1)

    def _weighed(self, out: mx.array, experts: mx.array, weights: mx.array) -> mx.array:
        """Add the experts' last bias, and multiply by their weights."""
        return _weigh(out, self.down_proj_bias[experts], weights)

    def _tensor(self, name: str) -> mx.array:
        """Return the blocks or the scales of a projection, one expert a row."""
        array: mx.array = self[name]
        return array

    def _activate(self, gate_up: mx.array, bias: mx.array) -> mx.array:
        """Halve ``(…, 1, 2 I)`` to ``(…, 1, I)``."""
        return clamped_swiglu(
            gate_up, bias[..., None, :], alpha=self.alpha, limit=self.limit
        )

    def _product(
        self,
        x: mx.array,
        projection: str,
        places: mx.array,
        rows: mx.array | None = None,
    ) -> mx.array:
        """Multiply by each expert's weight, without its bias.

        Args:
            x: Shape ``(…, 1, in)``.
            places: The row of each product's expert in the weight, sorted unless ``rows``
                gives the row of ``x`` of each.

        Returns:
            Shape ``(*places.shape, 1, out)``.
        """
        return mx.gather_qmm(
            x,
            self._tensor(f"{projection}_blocks"),
            self._tensor(f"{projection}_scales"),
            lhs_indices=rows,
            rhs_indices=places,
            transpose=True,
            group_size=MXFP4_GROUP_SIZE,
            bits=MXFP4_BITS,
            mode="mxfp4",
            sorted_indices=rows is None,
        )


class MixtureOfExperts(nn.Module):
    """Router and experts of one layer."""

    def __init__(self, config: ModelConfig, experts: Experts) -> None:
        super().__init__()
        self.num_experts_per_tok = config.num_experts_per_tok
        self.router = nn.Linear(config.hidden_size, config.num_local_experts)
        self.experts = experts

    def __call__(self, x: mx.array) -> mx.array:
        """Mix the outputs of each token's best experts.

        Args:
            x: Normed hidden states. Shape ``(B, L, hidden_size)``.
        """
        B, L, hidden = x.shape
        x = x.reshape(B * L, hidden)
        return self.experts(x, *self.route(x)).reshape(B, L, hidden)

    def route(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """Choose each token's best experts, and weigh them.

        The best have the highest raw logits; softmax runs over these only.

        Args:
            x: Normed hidden states. Shape ``(N, hidden_size)``.

        Returns:
            The experts' numbers and weights, both of shape ``(N, K)``.
        """
        K = self.num_experts_per_tok
        logits = self.router(x)  # (N, E)
        indices = mx.argpartition(logits, kth=-K, axis=-1)[:, -K:]
        chosen = mx.take_along_axis(logits, indices, axis=-1)
        return indices, mx.softmax(chosen, axis=-1, precise=True)
