"""Mixture of experts: router, clamped SwiGLU, MXFP4 weights as released.

Source: MLPBlock and swiglu in
https://github.com/openai/gpt-oss/blob/main/gpt_oss/torch/model.py
"""

from __future__ import annotations

from functools import partial

import mlx.core as mx
import mlx.nn as nn

from gptoss_mlx.config import MXFP4_BITS, MXFP4_GROUP_SIZE, ModelConfig

__all__ = ["Experts", "MixtureOfExperts", "clamped_swiglu"]

# From here on each expert is likely to serve several tokens, and sorting pays.
SORT_FROM_ROWS = 64


@partial(mx.compile, shapeless=True)
def _swiglu(gate: mx.array, up: mx.array, alpha: float, limit: float) -> mx.array:
    gate = mx.minimum(gate, limit)
    up = mx.clip(up, -limit, limit)
    return gate * mx.sigmoid(alpha * gate) * (up + 1)


def clamped_swiglu(
    gate_up: mx.array, *, alpha: float = 1.702, limit: float = 7.0
) -> mx.array:
    """Apply gpt-oss's activation: gate below ``limit``, up within it, and up plus one.

    Args:
        gate_up: Gate on even, up on odd places of the last axis. Shape ``(…, 2 I)``.
        alpha: Steepness of the gate's sigmoid.
        limit: Where both are clamped. The gate has no lower clamp.

    Returns:
        Shape ``(…, I)``.
    """
    return _swiglu(gate_up[..., ::2], gate_up[..., 1::2], alpha, limit)


class Experts(nn.Module):
    """Experts of a layer, under the names and in the bytes of the release.

    ``*_blocks`` hold eight 4-bit values a uint32, ``(E, out, in / 8)``; ``*_scales`` one
    exponent for 32 values, ``(E, out, in / 32)``; ``*_bias`` ``(E, out)``.
    """

    def __init__(self, config: ModelConfig, count: int | None = None) -> None:
        """Make room for the weights.

        Args:
            count: Of how many experts. None: of every one that the layer has.
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

    def __call__(self, x: mx.array, indices: mx.array) -> mx.array:
        """Send each token to its experts.

        Args:
            x: Shape ``(N, hidden_size)``.
            indices: Which experts, of those there is room for. Shape ``(N, K)``.

        Returns:
            Every chosen expert's answer, unweighted. Shape ``(N, K, hidden_size)``.
        """
        N, K = indices.shape
        experts = indices.flatten()  # (N K,)
        is_sorted = experts.size >= SORT_FROM_ROWS
        rows = x[:, None, None]  # (N, 1, 1, hidden_size)
        order = mx.argsort(experts) if is_sorted else None
        if order is not None:
            experts = experts[order]
            rows = x[order // K][:, None]  # (N K, 1, hidden_size)
        else:
            experts = indices
        gate_up = self._product(rows, "gate_up_proj", experts, is_sorted)
        inner = clamped_swiglu(gate_up, alpha=self.alpha, limit=self.limit)
        out = self._product(inner, "down_proj", experts, is_sorted)
        if order is not None:
            out = out[mx.argsort(order)]
        return out.reshape(N, K, -1)

    def _product(
        self, x: mx.array, projection: str, experts: mx.array, is_sorted: bool
    ) -> mx.array:
        """Multiply and add the bias. Shape ``(*experts.shape, 1, out)``."""
        out = mx.gather_qmm(
            x,
            self[f"{projection}_blocks"],
            self[f"{projection}_scales"],
            rhs_indices=experts,
            transpose=True,
            group_size=MXFP4_GROUP_SIZE,
            bits=MXFP4_BITS,
            mode="mxfp4",
            sorted_indices=is_sorted,
        )
        bias: mx.array = self[f"{projection}_bias"][experts]
        return out + bias[..., None, :]


class MixtureOfExperts(nn.Module):
    """Router and experts of one layer."""

    def __init__(self, config: ModelConfig, experts: Experts) -> None:
        super().__init__()
        self.num_experts_per_tok = config.num_experts_per_tok
        self.router = nn.Linear(config.hidden_size, config.num_local_experts)
        self.experts = experts

    def __call__(self, x: mx.array) -> mx.array:
        """Mix the answers of each token's best experts.

        The best are taken by raw logit; softmax is over just these.

        Args:
            x: Normed hidden states. Shape ``(B, L, hidden_size)``.
        """
        B, L, hidden = x.shape
        K = self.num_experts_per_tok
        x = x.reshape(B * L, hidden)
        logits = self.router(x)  # (N, E)
        indices = mx.argpartition(-logits, kth=K - 1, axis=-1)[:, :K]
        chosen = mx.take_along_axis(logits, indices, axis=-1)
        weights = mx.softmax(chosen, axis=-1, precise=True)  # (N, K)
        answers = self.experts(x, indices)  # (N, K, hidden_size)
        mixed: mx.array = (answers * weights[..., None]).sum(axis=1)
        return mixed.reshape(B, L, hidden)
