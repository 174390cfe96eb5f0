"""Compares one layer of the released models' shape on the device with NumPy.

The demo model is too small to use what a released one uses: 2880 columns, 8 query heads
per key, 8-bit attention, caches longer than a window. A layer of random weights does. Its
router prefers four experts per token by far, so that no rounding changes the choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from gptoss_mlx.config import RELEASED, LayerType, ModelConfig
from gptoss_mlx.doctor.reference import (
    AffineWeight,
    Floats,
    LayerWeights,
    Mxfp4Weight,
    layer_outputs,
)
from gptoss_mlx.model.transformer import Model

__all__ = ["Case", "CaseResult", "LayerCheck", "LayerExpectation", "check_layer", "expect"]

EXPERTS = 8
GROUP_SIZE = 64
BITS = 8
# How much more the preferred experts get than the others, in standard deviations.
PREFERENCE = 16.0

# How many of the tokens before a case are prefilled at once.
PREFILL_TOKENS = 512

KINDS: tuple[LayerType, ...] = ("sliding_attention", "full_attention")

BOUNDS = {"float32": (1e-4, 1e-3), "bfloat16": (2e-2, 0.25)}
"""The largest allowed distance from NumPy: root mean square, and largest difference.
Outputs are normed: their own root mean square is 1."""


class Case(NamedTuple):
    """Some tokens to compute at once.

    Attributes:
        start: The number of tokens before them.
        queries: The number of these tokens.
    """

    start: int
    queries: int


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The distance between a device and NumPy in one case.

    Attributes:
        layer_type: As in config.json.
        queries: Tokens computed at once.
        keys: Tokens so far, these included.
        rms: Root mean square of the differences.
        largest: The largest difference.
    """

    layer_type: LayerType
    queries: int
    keys: int
    rms: float
    largest: float


@dataclass(frozen=True, slots=True)
class LayerCheck:
    """The comparison of a device's layer with NumPy's.

    Attributes:
        device: The device: ``gpu``, or MLX's ``cpu``.
        dtype: The dtype of the computation.
        rms_bound: The largest allowed ``rms`` of a case.
        largest_bound: The largest allowed ``largest`` of a case.
    """

    device: Literal["cpu", "gpu"]
    dtype: str
    cases: tuple[CaseResult, ...]
    rms_bound: float
    largest_bound: float

    @property
    def passed(self) -> bool:
        """Whether every case is within the bounds."""
        return all(
            case.rms <= self.rms_bound and case.largest <= self.largest_bound
            for case in self.cases
        )

    @property
    def rms(self) -> float:
        """The worst case's ``rms``."""
        return float(np.max([case.rms for case in self.cases]))

    @property
    def largest(self) -> float:
        """The worst case's ``largest``."""
        return float(np.max([case.largest for case in self.cases]))


@dataclass(frozen=True, slots=True)
class LayerExpectation:
    """A random layer, a text, and NumPy's outputs for it.

    Attributes:
        config: A model of this one layer; each token of its vocabulary occurs once.
        embedding: The layer's input. Shape ``(T, hidden_size)``.
        hidden: The output after the final norm, by kind of layer and position.
        margin: See ``LayerOutputs``.
    """

    config: ModelConfig
    weights: LayerWeights
    embedding: Floats
    hidden: dict[LayerType, dict[int, Floats]]
    margin: float


def expect(
    cases: Sequence[Case], config: ModelConfig = RELEASED["20b"]
) -> LayerExpectation:
    """Make a layer and a text, and compute NumPy's outputs for ``cases``.

    Args:
        cases: All cases to be compared later.
        config: The shape of the layer, except for its number of experts.
    """
    tokens = max(case.start + case.queries for case in cases)
    config = replace(
        config, num_hidden_layers=1, num_local_experts=EXPERTS, vocab_size=tokens
    )
    random = np.random.default_rng(0)
    weights = _random_weights(config, random)
    embedding = _random_embedding(config, weights.router, random)
    asked = {case.start + i for case in cases for i in range(case.queries)}
    positions = np.array(sorted(asked))
    windows = {"sliding_attention": config.sliding_window, "full_attention": None}
    outputs = layer_outputs(
        config, weights, embedding, positions, tuple(windows[kind] for kind in KINDS)
    )
    hidden = {
        kind: dict(zip(positions.tolist(), outputs.hidden[windows[kind]], strict=True))
        for kind in KINDS
    }
    return LayerExpectation(config, weights, embedding, hidden, outputs.margin)


def check_layer(
    expected: LayerExpectation,
    cases: Sequence[Case],
    dtype: mx.Dtype,
    device: Literal["cpu", "gpu"],
) -> LayerCheck:
    """Compute the layer on a device, and compare the outputs.

    Args:
        expected: The expectation for these cases, or for more.
        cases: The cases, in order of ``start``.
        dtype: The dtype to compute in.
        device: The device to compute on.
    """
    results: list[CaseResult] = []
    with mx.stream(mx.gpu if device == "gpu" else mx.cpu):
        for kind in KINDS:
            model = make_model(expected, kind, dtype)
            for case, hidden in zip(cases, _read(model, cases), strict=True):
                wanted = expected.hidden[kind]
                reference = np.stack([wanted[case.start + i] for i in range(case.queries)])
                difference = (hidden - reference).astype(np.float64)
                results.append(
                    CaseResult(
                        layer_type=kind,
                        queries=case.queries,
                        keys=case.start + case.queries,
                        rms=float(np.sqrt(np.mean(difference**2))),
                        largest=float(np.abs(difference).max()),
                    )
                )
    name = str(dtype).removeprefix("mlx.core.")
    return LayerCheck(device, name, tuple(results), *BOUNDS[name])


def make_model(expected: LayerExpectation, kind: LayerType, dtype: mx.Dtype) -> Model:
    """Make a model of the expected layer.

    Args:
        kind: The kind of its attention.
        dtype: The dtype to compute in.
    """
    model = Model(replace(expected.config, layer_types=(kind,)))
    nn.quantize(
        model,
        group_size=GROUP_SIZE,
        bits=BITS,
        class_predicate=lambda path, _: path.endswith(("qkv_proj", "o_proj")),
    )
    weights = expected.weights
    layer, attention = "model.layers.0", "model.layers.0.self_attn"
    floats = {
        "model.embed_tokens.weight": expected.embedding,
        f"{layer}.input_layernorm.weight": weights.input_norm,
        f"{attention}.qkv_proj.scales": weights.qkv.scales,
        f"{attention}.qkv_proj.biases": weights.qkv.biases,
        f"{attention}.qkv_proj.bias": weights.qkv_bias,
        f"{attention}.sinks": weights.sinks,
        f"{attention}.o_proj.scales": weights.o.scales,
        f"{attention}.o_proj.biases": weights.o.biases,
        f"{attention}.o_proj.bias": weights.o_bias,
        f"{layer}.post_attention_layernorm.weight": weights.post_attention_norm,
        f"{layer}.mlp.router.weight": weights.router,
        f"{layer}.mlp.router.bias": weights.router_bias,
        f"{layer}.mlp.experts.gate_up_proj_bias": weights.gate_up_bias,
        f"{layer}.mlp.experts.down_proj_bias": weights.down_bias,
        "model.norm.weight": weights.norm,
    }
    arrays = {name: mx.array(values).astype(dtype) for name, values in floats.items()}
    for name, affine in (("qkv_proj", weights.qkv), ("o_proj", weights.o)):
        arrays[f"{attention}.{name}.weight"] = mx.array(affine.integers.view(np.uint32))
    for name, mxfp4 in (("gate_up_proj", weights.gate_up), ("down_proj", weights.down)):
        packed = mxfp4.blocks.reshape(*mxfp4.blocks.shape[:2], -1).view(np.uint32)
        arrays[f"{layer}.mlp.experts.{name}_blocks"] = mx.array(packed)
        arrays[f"{layer}.mlp.experts.{name}_scales"] = mx.array(mxfp4.scales)
    # The head is never used, so its lazy weight is never computed.
    arrays["lm_head.weight"] = mx.zeros(expected.embedding.shape, dtype)
    model.load_weights(list(arrays.items()))
    model.eval()
    return model


def _read(model: Model, cases: Sequence[Case]) -> list[Floats]:
    """Compute each case's tokens after all tokens before them; return hidden states."""
    cache = model.make_cache()
    outputs = []
    for start, queries in cases:
        held = cache[0].offset
        if held > start:
            cache[0].trim(held - start)
        for first in range(held, start, PREFILL_TOKENS):
            tokens = mx.arange(first, min(first + PREFILL_TOKENS, start))
            model.model(tokens[None], cache)
            # Only keys and values are needed of these tokens.
            mx.eval(cache[0].state)
        hidden = model.model(mx.arange(start, start + queries)[None], cache)
        outputs.append(np.array(hidden[0].astype(mx.float32)))
    return outputs


def _random_weights(config: ModelConfig, random: np.random.Generator) -> LayerWeights:
    """Draw weights that make logits, activations and outputs of magnitude 1."""
    hidden, inner, E = config.hidden_size, config.intermediate_size, EXPERTS
    query = config.num_attention_heads * config.head_dim
    both = 2 * config.num_key_value_heads * config.head_dim

    def normal(*shape: int, std: float, mean: float = 0.0) -> Floats:
        values = random.standard_normal(shape, np.float32) * np.float32(std)
        return _bfloat16(values + np.float32(mean))

    def affine(rows: int, columns: int, std: float) -> AffineWeight:
        integers = random.integers(0, 256, (rows, columns), np.uint8)
        # Integers from 0 to 255 have a standard deviation of 74.
        sizes = random.uniform(0.5, 1.5, (rows, columns // GROUP_SIZE)) * std / 74
        scales = _bfloat16(sizes.astype(np.float32))
        return AffineWeight(integers, scales, _bfloat16(-127.5 * scales))

    def mxfp4(rows: int, columns: int, exponent: int) -> Mxfp4Weight:
        shape = (E, rows, columns // 32)
        blocks = random.integers(0, 256, (*shape, 16), np.uint8)
        scales = random.integers(126 + exponent, 129 + exponent, shape, np.uint8)
        return Mxfp4Weight(blocks, scales)

    return LayerWeights(
        input_norm=normal(hidden, std=0.2, mean=1),
        qkv=affine(query + both, hidden, std=1.2 * hidden**-0.5),
        qkv_bias=normal(query + both, std=0.3),
        sinks=normal(config.num_attention_heads, std=1.5),
        o=affine(hidden, query, std=2 * query**-0.5),
        o_bias=normal(hidden, std=0.1),
        post_attention_norm=normal(hidden, std=0.2, mean=1),
        router=normal(E, hidden, std=hidden**-0.5),
        router_bias=normal(E, std=0.3),
        gate_up=mxfp4(2 * inner, hidden, exponent=-6),
        gate_up_bias=normal(E, 2 * inner, std=0.3),
        down=mxfp4(hidden, inner, exponent=-9),
        down_bias=normal(E, hidden, std=0.3),
        norm=normal(hidden, std=0.2, mean=1),
    )


def _random_embedding(
    config: ModelConfig, router: Floats, random: np.random.Generator
) -> Floats:
    """Draw the layer's input, in which each token prefers four experts."""
    tokens, K = config.vocab_size, config.num_experts_per_tok
    noise = random.standard_normal((tokens, config.hidden_size), np.float32)
    ranks = random.random((tokens, EXPERTS)).argsort(axis=1)
    # A router's rows have a length of about 1: adding a multiple of one adds to its logit.
    preferences: Floats = np.where(ranks < K, PREFERENCE, 0).astype(np.float32)
    return _bfloat16(noise + preferences @ router)


def _bfloat16(values: Floats) -> Floats:
    """Round to bf16, halves to even, so that every dtype has the same weights."""
    bits = values.view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)
