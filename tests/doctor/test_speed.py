from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import pytest

from gptoss_mlx.config import RELEASED
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.doctor.bandwidth import bytes_per_token
from gptoss_mlx.doctor.speed import Plan, measure_speed
from gptoss_mlx.fit.bandwidth import BANDWIDTHS, bandwidth_of
from gptoss_mlx.model.transformer import Model

SMALL = Plan(chunks=(32, 64), prompt_tokens=70, contexts=(20, 90), written_tokens=5)


def test_a_model_is_measured() -> None:
    """Each chunk size, each context, and memory that adds up."""
    stages: list[str] = []
    found = measure_speed(open_demo(print), stages.append, SMALL)

    assert found.model == "demo"
    assert [(read.chunk_tokens, read.tokens) for read in found.prefill] == [
        (32, 70),
        (64, 70),
        (512, 90),
    ]
    assert [(one.context_tokens, one.tokens) for one in found.decode] == [(20, 5), (90, 5)]
    assert all(read.tokens_per_s > 0 for read in found.prefill)
    assert all(one.tokens_per_s > 0 for one in found.decode)
    assert found.decode[0].token_bytes < found.decode[1].token_bytes
    assert 0 < found.active_bytes <= found.peak_bytes
    assert found.predicted_bytes > found.active_bytes
    assert stages[0] == "loading the model"
    assert "prefilling 70 tokens in chunks of 64" in stages


def test_what_there_is_no_time_for() -> None:
    """The shortest context is measured, the rest is left out."""
    found = measure_speed(
        open_demo(print),
        print,
        Plan(chunks=(512,), contexts=(40, 8_192), written_tokens=5, limit_s=0),
    )

    assert found.prefill == ()
    assert [one.context_tokens for one in found.decode] == [40]


def test_bytes_of_a_token_of_gpt_oss_20b() -> None:
    """With q8, 2.56 GB of weights: 4 of 32 experts, and one row of the embedding."""
    config = RELEASED["20b"]
    model = Model(config)  # nothing of it is computed
    recipe = RECIPES["q8"]
    nn.quantize(
        model,
        group_size=64,
        bits=8,
        class_predicate=lambda path, module: (
            hasattr(module, "to_quantized") and not path.endswith("router")
        ),
    )
    model.set_dtype(mx.bfloat16)

    packing = recipe.packing("lm_head", config.hidden_size)
    assert packing is not None
    assert packing.bits == 8
    assert bytes_per_token(model, config, 0, 2) == pytest.approx(2.56e9, rel=0.01)
    at_8k = bytes_per_token(model, config, 8_192, 2) - bytes_per_token(model, config, 0, 2)
    assert at_8k == 12 * 2_048 * (8_192 + 128)


@pytest.mark.parametrize(
    ("device", "bandwidth"),
    [
        ("Apple M1", 68e9),
        ("Apple M4 Pro", 273e9),
        ("Apple M3 Ultra", 819e9),
        ("Apple Paravirtual device", None),
        ("AMD EPYC", None),
        ("", None),
    ],
)
def test_a_chip_s_bandwidth(device: str, bandwidth: float | None) -> None:
    """By MLX's name for it; unknown chips have none."""
    assert bandwidth_of(device) == bandwidth


def test_larger_chips_are_quicker() -> None:
    """For each generation: the plain chip, Pro, Max, Ultra."""
    for generation in range(1, 6):
        names = [f"M{generation}{more}" for more in ("", " Pro", " Max", " Ultra")]
        known = [BANDWIDTHS[name] for name in names if name in BANDWIDTHS]
        assert len(known) >= 3
        assert known == sorted(known)
