"""One layer of gpt-oss in NumPy, as a reference for a device.

It shares no code with ``gptoss_mlx.model``, so that an error in one of them shows.
Sums are float32, as in NumPy's BLAS.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/torch/model.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gptoss_mlx.config import ModelConfig

__all__ = ["AffineWeight", "LayerOutputs", "LayerWeights", "Mxfp4Weight", "layer_outputs"]

Floats = npt.NDArray[np.float32]

# The values of the 16 codes of FP4 (E2M1).
FP4_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
FP4_VALUES = np.concatenate([FP4_VALUES, -FP4_VALUES])

# The two float32 values of each byte, viewed as one number, to look up both at once.
_BYTES = np.arange(256)
FP4_PAIRS = np.stack([FP4_VALUES[_BYTES & 15], FP4_VALUES[_BYTES >> 4]], axis=1)
FP4_PAIRS_AS_ONE = FP4_PAIRS.view(np.uint64)[:, 0]


@dataclass(frozen=True, slots=True)
class AffineWeight:
    """A matrix of 8-bit integers with scales and biases.

    Attributes:
        integers: Shape ``(out, in)``, uint8.
        scales: One per group of neighbours in a row. Shape ``(out, in / group_size)``.
        biases: Same shape as ``scales``.
    """

    integers: npt.NDArray[np.uint8]
    scales: Floats
    biases: Floats

    def values(self) -> Floats:
        """Unpack. Shape ``(out, in)``."""
        grouped = self.integers.reshape(*self.scales.shape, -1).astype(np.float32)
        values: Floats = grouped * self.scales[..., None] + self.biases[..., None]
        return values.reshape(self.integers.shape)


@dataclass(frozen=True, slots=True)
class Mxfp4Weight:
    """A matrix for each expert, in the bytes of the release.

    Attributes:
        blocks: Two values per byte, the first in the low half. Shape
            ``(E, out, in / 32, 16)``, uint8.
        scales: Exponents of two, plus 127. Shape
            ``(E, out, in / 32)``, uint8.
    """

    blocks: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.uint8]

    def values(self, expert: int) -> Floats:
        """Unpack one expert's weights. Shape ``(out, in)``."""
        blocks = self.blocks[expert]
        values: Floats = FP4_PAIRS_AS_ONE[blocks].view(np.float32)  # (out, in / 32, 32)
        scales = np.exp2(self.scales[expert].astype(np.float32) - 127)
        values *= scales[..., None]
        return values.reshape(len(blocks), -1)


class LayerWeights(NamedTuple):
    """The parameters of a layer and of the norm after it.

    Matrices are ``(out, in)``; q, k and v are the rows of ``qkv`` in that order. Rows of
    gate and up alternate.
    """

    input_norm: Floats
    qkv: AffineWeight
    qkv_bias: Floats
    sinks: Floats
    o: AffineWeight
    o_bias: Floats
    post_attention_norm: Floats
    router: Floats
    router_bias: Floats
    gate_up: Mxfp4Weight
    gate_up_bias: Floats
    down: Mxfp4Weight
    down_bias: Floats
    norm: Floats


class LayerOutputs(NamedTuple):
    """The outputs of a layer at some positions.

    Attributes:
        hidden: Normed hidden states, by window. Shape ``(P, hidden_size)``.
        margin: The smallest distance, over all positions, between the lowest logit of a
            chosen expert and the highest of the others.
    """

    hidden: dict[int | None, Floats]
    margin: float


def layer_outputs(
    config: ModelConfig,
    weights: LayerWeights,
    x: Floats,
    positions: npt.NDArray[np.int64],
    windows: tuple[int | None, ...],
) -> LayerOutputs:
    """Compute one layer and the norm after it, at some positions of a text.

    Args:
        config: The model's size and shape.
        weights: Its parameters.
        x: The layer's input at every position. Shape ``(T, hidden_size)``.
        positions: Positions of the outputs. Shape ``(P,)``.
        windows: How many keys a query attends to, its own included; None: all before it.
            The layer is computed once for each.
    """
    # BLAS on macOS raises these flags for finite products.
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        attended = _attention(config, weights, x, positions, windows)  # (W P, hidden)
        mixed, margin = _experts(config, weights, attended)
        hidden = _rms_norm(attended + mixed, weights.norm, config.rms_norm_eps)
    return LayerOutputs(
        dict(zip(windows, np.split(hidden, len(windows)), strict=True)), margin
    )


def _attention(
    config: ModelConfig,
    weights: LayerWeights,
    x: Floats,
    positions: npt.NDArray[np.int64],
    windows: tuple[int | None, ...],
) -> Floats:
    """Compute attention and add the input, window by window: ``(W P, hidden_size)``."""
    heads, groups, D = (
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
    )
    normed = _rms_norm(x, weights.input_norm, config.rms_norm_eps)
    matrix, query_rows = weights.qkv.values(), heads * D
    queries = normed[positions] @ matrix[:query_rows].T + weights.qkv_bias[:query_rows]
    others = normed @ matrix[query_rows:].T + weights.qkv_bias[query_rows:]
    keys, values = np.split(others, 2, axis=1)  # (T, groups D)
    everywhere = np.arange(len(x))
    rotated_keys = _rotate(config, keys.reshape(-1, groups, D), everywhere)
    rotated = _rotate(config, queries.reshape(-1, heads, D), positions)
    values = values.reshape(-1, groups, D)
    distance = positions[:, None] - everywhere  # (P, T)
    output_matrix, outputs = weights.o.values(), []
    for window in windows:
        hidden = (distance < 0) | (distance >= (window or len(x)))
        out = np.empty((len(positions), heads, D), np.float32)
        for head in range(heads):
            group = head // (heads // groups)
            logits = rotated[:, head] @ rotated_keys[:, group].T / np.float32(math.sqrt(D))
            logits[hidden] = -np.inf
            out[:, head] = _softmax_with(logits, weights.sinks[head]) @ values[:, group]
        flat = out.reshape(len(positions), -1)
        outputs.append(x[positions] + flat @ output_matrix.T + weights.o_bias)
    return np.concatenate(outputs)


def _experts(config: ModelConfig, weights: LayerWeights, x: Floats) -> tuple[Floats, float]:
    """Return the experts' mixed outputs ``(N, hidden_size)``, and the router's margin."""
    K = config.num_experts_per_tok
    normed = _rms_norm(x, weights.post_attention_norm, config.rms_norm_eps)
    logits = normed @ weights.router.T + weights.router_bias  # (N, E)
    order = np.argsort(-logits, axis=1)
    ranked = np.take_along_axis(logits, order, axis=1)
    shares = np.exp(ranked[:, :K] - ranked[:, :1])
    shares /= shares.sum(axis=1, keepdims=True)
    mixed = np.zeros_like(x)
    for expert in range(config.num_local_experts):
        rows, place = np.nonzero(order[:, :K] == expert)
        if not len(rows):
            continue
        gate_up = normed[rows] @ weights.gate_up.values(expert).T
        inner = _swiglu(config, gate_up + weights.gate_up_bias[expert])
        answers = inner @ weights.down.values(expert).T + weights.down_bias[expert]
        mixed[rows] += shares[rows, place, None] * answers
    return mixed, float((ranked[:, K - 1] - ranked[:, K]).min())


def _rms_norm(x: Floats, weight: Floats, eps: float) -> Floats:
    mean_square = np.mean(np.square(x), axis=-1, keepdims=True)
    normed: Floats = x / np.sqrt(mean_square + np.float32(eps)) * weight
    return normed


def _swiglu(config: ModelConfig, gate_up: Floats) -> Floats:
    limit = np.float32(config.swiglu_limit)
    gate = np.minimum(gate_up[:, 0::2], limit)
    up = np.clip(gate_up[:, 1::2], -limit, limit)
    out: Floats = gate / (1 + np.exp(-np.float32(config.swiglu_alpha) * gate)) * (up + 1)
    return out


def _softmax_with(logits: Floats, sink: np.float32) -> Floats:
    """Return each row's softmax over its logits and a sink, without the sink's share."""
    top = np.maximum(logits.max(axis=1, keepdims=True), sink)
    shares: Floats = np.exp(logits - top)
    shares /= shares.sum(axis=1, keepdims=True) + np.exp(sink - top)
    return shares


def _rotate(config: ModelConfig, x: Floats, positions: npt.NDArray[np.int64]) -> Floats:
    """Rotate the halves of each head by YaRN's angles, and scale them.

    Args:
        x: Shape ``(P, heads, D)``.
        positions: Shape ``(P,)``.
    """
    frequencies, concentration = _yarn(config)
    # Rounded to float32 first, like the reference's angles.
    angles = positions.astype(np.float32)[:, None, None] * frequencies
    wide: npt.NDArray[Any] = angles.astype(np.float64)
    cos = (np.cos(wide) * concentration).astype(np.float32)
    sin = (np.sin(wide) * concentration).astype(np.float32)
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _yarn(config: ModelConfig) -> tuple[Floats, float]:
    """Return radians per token ``(D / 2,)``, and the factor of queries and keys."""
    scaling, base = config.rope_scaling, config.rope_theta
    half = config.head_dim // 2
    plain = base ** (-np.arange(half) / half)

    def dimension(turns: float) -> float:
        tokens_a_turn = scaling.original_max_position_embeddings / turns
        return half * math.log(tokens_a_turn / (2 * math.pi)) / math.log(base)

    first, last = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    slowed = np.clip((np.arange(half) - first) / (last - first), 0, 1)
    frequencies = plain * (1 - slowed) + plain / scaling.factor * slowed
    return frequencies.astype(np.float32), 0.1 * math.log(scaling.factor) + 1
