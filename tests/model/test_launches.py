from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.models import gpt_oss as mlx_lm_gpt_oss

from gptoss_mlx.config import ModelConfig, RopeScaling
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.model.transformer import Model

# These cost no launch of a kernel on a GPU, or a copy of a few values.
FREE = {
    "AsType",
    "Broadcast",
    "ExpandDims",
    "Flatten",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "StopGradient",
    "Transpose",
    "Unflatten",
}

MOST = 22
"""Of a layer and a token."""

MOST_OF_MLX_LM = 0.65


def config(layers: int) -> ModelConfig:
    """A narrow model, as deep as asked."""
    return ModelConfig(
        num_hidden_layers=layers,
        hidden_size=64,
        intermediate_size=64,
        num_local_experts=8,
        num_experts_per_tok=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=32,
        vocab_size=64,
        sliding_window=128,
        layer_types=("sliding_attention", "full_attention") * (layers // 2),
        rms_norm_eps=1e-5,
        swiglu_limit=7.0,
        swiglu_alpha=1.702,
        rope_theta=150_000.0,
        rope_scaling=RopeScaling(32.0, 32.0, 1.0, 4_096),
        max_position_embeddings=131_072,
    )


def our_model(layers: int) -> Any:
    """Ours, with 8-bit attention."""
    model = Model(config(layers))
    nn.quantize(model, 32, 8, class_predicate=is_attention)
    return model


def mlx_lm_model(layers: int) -> Any:
    """mlx-lm's of the same shape, quantized alike."""
    c = config(layers)
    model = mlx_lm_gpt_oss.Model(
        mlx_lm_gpt_oss.ModelArgs(
            model_type="gpt_oss",
            num_hidden_layers=layers,
            num_local_experts=c.num_local_experts,
            num_experts_per_tok=c.num_experts_per_tok,
            vocab_size=c.vocab_size,
            rms_norm_eps=c.rms_norm_eps,
            hidden_size=c.hidden_size,
            intermediate_size=c.intermediate_size,
            head_dim=c.head_dim,
            num_attention_heads=c.num_attention_heads,
            num_key_value_heads=c.num_key_value_heads,
            sliding_window=c.sliding_window,
            rope_theta=int(c.rope_theta),
            rope_scaling={
                "rope_type": "yarn",
                "factor": 32.0,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "original_max_position_embeddings": 4_096,
            },
        )
    )
    nn.quantize(model, 32, 8, class_predicate=is_attention)

    def is_expert(path: str, module: nn.Module) -> bool:
        return "experts" in path and hasattr(module, "to_quantized")

    nn.quantize(model, 32, 4, mode="mxfp4", class_predicate=is_expert)
    return model


def is_attention(path: str, module: nn.Module) -> bool:
    """Whether a recipe of 8 bits packs it."""
    return "self_attn" in path and isinstance(module, nn.Linear)


@pytest.fixture(autouse=True)
def opaque(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make one node of each call of mx.fast: a CPU spreads it into its parts."""

    def one_node(x: mx.array, *others: Any, **options: Any) -> mx.array:
        arrays = [a for a in (*others, *options.values()) if isinstance(a, mx.array)]
        node: mx.array = mx.depends([x], arrays or [x])[0]
        return node

    for name in ("rms_norm", "rope", "scaled_dot_product_attention"):
        monkeypatch.setattr(mx.fast, name, one_node)


def nodes(model: Any) -> Counter[str]:
    """The operations of the token after a short text."""
    cache = model.make_cache()
    read = model(mx.array([[1, 2, 3]]), cache)
    mx.eval(model.parameters(), read, [layer.state for layer in cache])
    return operations(model(mx.array([[4]]), cache))


def operations(*outputs: Any) -> Counter[str]:
    """What is to be computed for some arrays, but what is free."""
    written = io.StringIO()
    mx.export_to_dot(written, *outputs)
    names = re.findall(r'label ="(\w+)", shape=rectangle', written.getvalue())
    return Counter(name for name in names if name not in FREE)


def per_layer(make: Callable[[int], Any]) -> float:
    """Operations of a layer: what two more take, halved."""
    return (nodes(make(4)).total() - nodes(make(2)).total()) / 2


@pytest.fixture
def launches() -> float:
    """Ours."""
    return per_layer(our_model)


def test_a_layer_takes_few_launches_for_a_token(launches: float) -> None:
    """A GPU spends some microseconds on each, however small it is."""
    assert launches <= MOST


def test_a_layer_takes_fewer_launches_than_mlx_lm_s(launches: float) -> None:
    """Counted alike, with the same recipe."""
    assert launches <= MOST_OF_MLX_LM * per_layer(mlx_lm_model)


def test_the_last_layer_of_a_prefill_computes_keys_and_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And all else for the last position of the prompt alone."""
    layers = 24
    model = our_model(layers)
    mx.eval(model.parameters())
    evaluated: list[Counter[str]] = []
    rows: list[int] = []
    last = model.layers[-1]
    mlp = last.mlp

    def counted(*outputs: Any) -> None:
        evaluated.append(operations(*dict(tree_flatten(outputs)).values()))
        mx.async_eval(outputs)

    def watched(x: mx.array) -> mx.array:
        rows.append(x.shape[1])
        mixed: mx.array = mlp(x)
        return mixed

    monkeypatch.setattr(mx, "eval", counted)
    monkeypatch.setitem(last, "mlp", watched)
    cache = PromptCache(model, max_checkpoints=0)
    rest = cache.begin([1, 2, 3] * 20)
    cache.read(rest[:30])
    cache.read(rest[30:])

    begun, ended = evaluated
    assert begun["GatherQMM"] == 2 * (layers - 1)
    assert begun["QuantizedMatmul"] == 2 * (layers - 1) + 1
    assert ended["GatherQMM"] == 2 * layers
    assert ended["QuantizedMatmul"] == 2 * (layers - 1) + 3  # q apart from k and v
    assert rows == [1, 1]
