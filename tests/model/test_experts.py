from __future__ import annotations

import mlx.core as mx
import numpy as np
import numpy.typing as npt
import pytest
from mlx.utils import tree_flatten

from gptoss_mlx.config import ModelConfig, RopeScaling
from gptoss_mlx.model import experts as experts_module
from gptoss_mlx.model.experts import Experts, clamped_swiglu
from gptoss_mlx.model.transformer import Model

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
LUT = np.concatenate([E2M1, -E2M1])

Floats = npt.NDArray[np.float32]


def decode_mxfp4(blocks: npt.NDArray[np.uint8], scales: npt.NDArray[np.uint8]) -> Floats:
    """_get_mxfp4_tensor of openai/gpt-oss, in NumPy: low nibble first."""
    values = np.stack([LUT[blocks & 15], LUT[blocks >> 4]], axis=-1)
    values = values.reshape(*blocks.shape[:-1], 32)
    scaled = np.ldexp(values, scales[..., None].astype(np.int32) - 127)
    decoded: Floats = scaled.reshape(*blocks.shape[:-2], -1)
    return decoded


def swiglu(x: Floats, alpha: float = 1.702, limit: float = 7.0) -> Floats:
    """Swiglu of openai/gpt-oss, in NumPy."""
    gate, linear = x[..., ::2], x[..., 1::2]
    gate = np.minimum(gate, limit)
    linear = np.clip(linear, -limit, limit)
    out: Floats = gate / (1 + np.exp(-alpha * gate)) * (linear + 1)
    return out


def config() -> ModelConfig:
    """A layer of 6 experts, 32 wide outside and 64 inside."""
    return ModelConfig(
        num_hidden_layers=1,
        hidden_size=32,
        intermediate_size=64,
        num_local_experts=6,
        num_experts_per_tok=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=8,
        vocab_size=16,
        sliding_window=8,
        layer_types=("sliding_attention",),
        rms_norm_eps=1e-5,
        swiglu_limit=7.0,
        swiglu_alpha=1.702,
        rope_theta=150_000.0,
        rope_scaling=RopeScaling(32.0, 32.0, 1.0, 4_096),
        max_position_embeddings=131_072,
    )


@pytest.mark.parametrize(
    ("gate", "up", "expected"),
    [
        (8.0, 8.0, 7 / (1 + np.exp(-1.702 * 7)) * 8),
        (-100.0, 0.0, 0.0),
        (1.0, -9.0, 1 / (1 + np.exp(-1.702)) * -6),
    ],
)
def test_the_clamp_is_above_for_the_gate_and_on_both_sides_for_up(
    gate: float, up: float, expected: float
) -> None:
    """Gate 8 counts as 7, gate -100 as itself; up -9 as -7, and gets one more."""
    gate_up = mx.array([gate, up])

    ours = clamped_swiglu(gate_up - 1, mx.ones((2,)))

    assert ours.item() == pytest.approx(expected)


def test_swiglu_equals_the_reference() -> None:
    """Gate and up lie on even and odd places, as released."""
    x = np.random.default_rng(0).normal(0, 6, (5, 3, 64)).astype(np.float32)

    ours = clamped_swiglu(mx.array(x), mx.zeros((64,)))

    np.testing.assert_allclose(np.array(ours), swiglu(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 3, 40], ids=["one", "few", "sorted"])
def test_experts_equal_the_reference(tokens: int) -> None:
    """Straight from released bytes, alone and sorted by expert, each bias once."""
    random = np.random.default_rng(1)
    model = Experts(config())
    raw: dict[str, npt.NDArray[np.uint8]] = {}
    bias: dict[str, Floats] = {}
    for name, rows, columns in (("gate_up_proj", 128, 32), ("down_proj", 32, 64)):
        blocks = random.integers(0, 256, (6, rows, columns // 32, 16), np.uint8)
        scales = random.integers(122, 127, (6, rows, columns // 32), np.uint8)
        raw[f"{name}_blocks"], raw[f"{name}_scales"] = blocks, scales
        bias[name] = random.normal(0, 1, (6, rows)).astype(np.float32)
        model[f"{name}_blocks"] = mx.array(blocks).view(mx.uint32).flatten(-2)
        model[f"{name}_scales"] = mx.array(scales)
        model[f"{name}_bias"] = mx.array(bias[name])
    x = random.normal(0, 1, (tokens, 32)).astype(np.float32)
    chosen = np.stack([random.permutation(6)[:4] for _ in range(tokens)])
    weights = random.uniform(0, 1, (tokens, 4)).astype(np.float32)
    expected = np.zeros((tokens, 32), np.float32)
    up_weight, down_weight = (
        decode_mxfp4(raw[f"{name}_blocks"], raw[f"{name}_scales"])
        for name in ("gate_up_proj", "down_proj")
    )
    for n, k in np.ndindex(tokens, 4):
        e = chosen[n, k]
        inner = swiglu(up_weight[e] @ x[n] + bias["gate_up_proj"][e])
        expected[n] += weights[n, k] * (down_weight[e] @ inner + bias["down_proj"][e])

    ours = np.array(model(mx.array(x), mx.array(chosen), mx.array(weights)))

    assert (tokens * 4 >= experts_module.SORT_FROM_ROWS) == (tokens == 40)
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


class Slots(Experts):
    """Room for some experts, filled from a whole layer with those that are asked for."""

    def __init__(self, config: ModelConfig, whole: Experts, count: int) -> None:
        super().__init__(config, count)
        self._whole = whole

    def __call__(self, x: mx.array, indices: mx.array, weights: mx.array) -> mx.array:
        """Fill the slots, and look for each expert in its own."""
        held = np.unique(np.array(indices))
        for name, tensor in self._whole.parameters().items():
            self[name][: len(held)] = tensor[mx.array(held)]
        slots = mx.array(np.searchsorted(held, np.array(indices)))
        return super().__call__(x, slots, weights)


def test_slots_take_the_place_of_whole_layers() -> None:
    """A model whose layers hold 4 of 6 experts computes the same, a token at a time."""
    whole = Model(config())
    for name, size in (("gate_up_proj", 128), ("down_proj", 32)):
        experts = whole.layers[0].mlp.experts
        blocks = experts[f"{name}_blocks"]
        experts[f"{name}_blocks"] = mx.random.randint(0, 2**31, blocks.shape, mx.uint32)
        experts[f"{name}_scales"] += 124
        experts[f"{name}_bias"] = mx.random.normal((6, size))
    few = Model(
        config(),
        experts=lambda config, layer: Slots(config, whole.layers[layer].mlp.experts, 4),
    )
    rest = dict(tree_flatten(whole.parameters()))
    few.load_weights(
        [(name, rest[name]) for name in rest if ".experts." not in name], strict=False
    )

    for token in range(16):
        tokens = mx.array([[token]])
        assert mx.array_equal(few(tokens), whole(tokens))
    assert few.layers[0].mlp.experts.down_proj_bias.shape == (4, 32)
