from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from side_by_side import mlx_lm_model, our_model

from gptoss_mlx.config import RELEASED, ModelConfig
from gptoss_mlx.generation.prompt_cache import PromptCache

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
    return replace(
        RELEASED["20b"],
        num_hidden_layers=layers,
        layer_types=RELEASED["20b"].layer_types[:layers],
        hidden_size=64,
        intermediate_size=64,
        num_local_experts=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=32,
        vocab_size=64,
    )


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


def per_layer(make: Callable[[ModelConfig], Any]) -> float:
    """Operations of a layer: what two more take, halved."""
    return (nodes(make(config(4))).total() - nodes(make(config(2))).total()) / 2


@pytest.fixture
def launches() -> float:
    """Ours."""
    return per_layer(our_model)


def test_a_layer_takes_few_launches_for_a_token(launches: float) -> None:
    """A GPU spends some microseconds on each, however small it is."""
    assert launches <= MOST


def test_a_layer_takes_fewer_launches_than_mlx_lm_s(launches: float) -> None:
    """Counted the same way, with the same recipe."""
    assert launches <= MOST_OF_MLX_LM * per_layer(mlx_lm_model)


def test_the_last_layer_of_a_prefill_computes_keys_and_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything else is computed only for the prompt's last position."""
    layers = 24
    model = our_model(config(layers))
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
    cache = PromptCache(model, max_snapshots=0)
    rest = cache.begin([1, 2, 3] * 20)
    cache.prefill(rest[:30])
    cache.prefill(rest[30:])

    begun, ended = evaluated
    assert begun["GatherQMM"] == 2 * (layers - 1)
    assert begun["QuantizedMatmul"] == 2 * (layers - 1) + 1
    assert ended["GatherQMM"] == 2 * layers
    assert ended["QuantizedMatmul"] == 2 * (layers - 1) + 3  # q apart from k and v
    assert rows == [1, 1]
