from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import pytest
from evidence import Note

from gptoss_mlx.config import RELEASED, LayerType
from gptoss_mlx.doctor import layer
from gptoss_mlx.doctor.examine import GPU_CASES
from gptoss_mlx.doctor.layer import Case, LayerCheck, LayerExpectation, check_layer, expect
from gptoss_mlx.model.transformer import Model

WITH_A_WINDOW = (Case(130, 1), Case(130, 6))
ALONE = (Case(0, 6),)

Break = Callable[[Model], None]


@pytest.fixture(scope="module")
def expected() -> LayerExpectation:
    """A layer of the real shape, in NumPy."""
    return expect([*ALONE, *WITH_A_WINDOW])


def check(expected: LayerExpectation, cases: tuple[Case, ...] = ALONE) -> LayerCheck:
    """The device's layer in float32."""
    return check_layer(expected, cases, mx.float32, "cpu")


def test_a_layer_of_the_real_shape(expected: LayerExpectation, note: Note) -> None:
    """One and six queries behind 130 tokens, sliding and full: NumPy's, in float32."""
    found = check(expected, WITH_A_WINDOW)

    note("layer", found.rms)
    assert found.passed
    assert found.rms < 2e-5
    assert [(c.layer_type, c.queries, c.keys) for c in found.cases] == [
        ("sliding_attention", 1, 131),
        ("sliding_attention", 6, 136),
        ("full_attention", 1, 131),
        ("full_attention", 6, 136),
    ]


def test_no_rounding_changes_the_choice_of_experts(expected: LayerExpectation) -> None:
    """The router's margin is far over what bf16 is off by."""
    assert expected.margin > 1


def test_every_case_of_a_gpu() -> None:
    """Caches are read on, rewound and passed by a chunk; here with a small layer."""
    config = replace(
        RELEASED["20b"],
        hidden_size=128,
        intermediate_size=64,
        num_attention_heads=8,
        num_key_value_heads=2,
    )
    found = check(expect(GPU_CASES, config), GPU_CASES)

    assert found.passed
    assert len(found.cases) == 2 * len(GPU_CASES)
    assert max(case.keys for case in found.cases) > 4_096


@pytest.mark.slow
def test_a_long_chunk_of_the_real_shape() -> None:
    """512 queries, 1,100 keys, and experts of 256 rows each."""
    cases = (Case(588, 512),)
    found = check(expect(cases), cases)

    assert found.passed
    assert {case.keys for case in found.cases} == {1_100}


def swap_heads(model: Model) -> None:
    """The first two query heads stand in each other's place."""
    projection = model.layers[0].self_attn.qkv_proj
    order = mx.array([*range(64, 128), *range(64), *range(128, 5120)])
    for name in ("weight", "scales", "biases", "bias"):
        projection[name] = projection[name][order]


def other_mxfp4_scale(projection: str) -> Break:
    """One scale of one expert is off by one: 32 weights count twice."""

    def break_it(model: Model) -> None:
        scales = model.layers[0].mlp.experts[f"{projection}_scales"]
        scales[0, 0, 0] += 1

    return break_it


def other_affine_scale(projection: str) -> Break:
    """One scale of 64 8-bit weights is off by a quarter."""

    def break_it(model: Model) -> None:
        scales = model.layers[0].self_attn[projection]["scales"]
        scales[0, 0] *= 1.25

    return break_it


def no_sink(model: Model) -> None:
    """The first head has no sink."""
    model.layers[0].self_attn.sinks[0] = -mx.inf


def no_number(model: Model) -> None:
    """One value is not a number."""
    model.model.norm.weight[0] = mx.nan


@pytest.mark.parametrize(
    "break_it",
    [
        swap_heads,
        other_mxfp4_scale("gate_up_proj"),
        other_mxfp4_scale("down_proj"),
        other_affine_scale("qkv_proj"),
        other_affine_scale("o_proj"),
        no_sink,
        no_number,
    ],
    ids=["head", "gate_up", "down", "qkv", "o", "sink", "nan"],
)
def test_one_thing_that_is_wrong(
    break_it: Break, expected: LayerExpectation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the fault is, the check fails."""

    def broken(given: LayerExpectation, kind: LayerType, dtype: mx.Dtype) -> Model:
        model = right(given, kind, dtype)
        break_it(model)
        return model

    right = layer.make_model
    monkeypatch.setattr(layer, "make_model", broken)

    assert not check(expected).passed


def test_a_window_that_is_one_too_short(
    expected: LayerExpectation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key of 128 that is not seen: the sliding cases fail, the full ones do not."""
    shorter = replace(expected, config=replace(expected.config, sliding_window=127))
    found = check(shorter, WITH_A_WINDOW[:1])

    assert not found.passed
    full = tuple(case for case in found.cases if case.layer_type == "full_attention")
    assert replace(found, cases=full).passed


Product = Callable[..., mx.array]


def patch_products(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Product], Product]
) -> None:
    """Put others in the place of the products with quantized weights."""
    for name in ("quantized_matmul", "gather_qmm"):
        monkeypatch.setattr(mx, name, change(getattr(mx, name)))


def test_operands_that_are_rounded_as_tf32(
    expected: LayerExpectation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten bits of a fraction are left: float32 fails."""

    def tf32(right: Product) -> Product:
        def product(x: mx.array, *given: mx.array, **named: Any) -> mx.array:
            bits = (x.view(mx.uint32) + 0x1000) & 0xFFFFE000
            return right(bits.view(mx.float32), *given, **named)

        return product

    patch_products(monkeypatch, tf32)

    assert not check(expected).passed


def test_bf16_as_a_gpu_computes_it(
    expected: LayerExpectation, monkeypatch: pytest.MonkeyPatch, note: Note
) -> None:
    """Products summed in float32 and rounded once, as on a GPU: within the bound."""

    def wide(right: Product) -> Product:
        def product(x: mx.array, w: mx.array, *rest: mx.array, **named: Any) -> mx.array:
            scales = [a.astype(mx.float32) if a.dtype == x.dtype else a for a in rest]
            return right(x.astype(mx.float32), w, *scales, **named).astype(x.dtype)

        return product

    patch_products(monkeypatch, wide)
    found = check_layer(expected, ALONE, mx.bfloat16, "cpu")

    note("layer_bf16", found.rms)
    assert found.passed
    assert found.rms > 1e-3  # it was bf16
