"""Keys of config.json in their spellings."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from released_config import (
    GONE,
    GPT_OSS_20B,
    LEGACY,
    ORIGINAL,
    RELEASED,
    ROPE,
    changed,
    parse,
)

from gptoss_mlx.config import ModelConfig, RopeScaling
from gptoss_mlx.config_json import hugging_face_keys


def test_the_released_config_of_20b() -> None:
    """Every number is where it belongs."""
    assert parse(RELEASED) == GPT_OSS_20B


def test_the_released_config_of_120b() -> None:
    """It differs in layers and experts only."""
    keys = {
        **RELEASED,
        "layer_types": ["sliding_attention", "full_attention"] * 18,
        "num_hidden_layers": 36,
        "num_local_experts": 128,
    }

    assert parse(keys) == replace(
        GPT_OSS_20B,
        num_hidden_layers=36,
        num_local_experts=128,
        layer_types=("sliding_attention", "full_attention") * 18,
    )


def test_openais_own_config_says_the_same() -> None:
    """``original/config.json`` is read under other names, to an equal config."""
    assert parse(ORIGINAL) == GPT_OSS_20B


@pytest.mark.parametrize("rope_scaling", [GONE, None])
def test_transformers_5_spelling_says_the_same(rope_scaling: object) -> None:
    """``rope_parameters`` holds rope_theta too, and YaRN is not lost."""
    keys = changed("rope_scaling", rope_scaling)
    del keys["rope_theta"]
    keys["rope_parameters"] = {**RELEASED["rope_scaling"], "rope_theta": 150000}
    keys["swiglu_alpha"] = 1.702

    assert parse(keys) == GPT_OSS_20B


def test_rope_theta_beside_rope_parameters() -> None:
    """It counts where rope_parameters has none."""
    keys = changed("rope_scaling", GONE)
    keys["rope_parameters"] = RELEASED["rope_scaling"]
    keys["rope_theta"] = 10_000

    assert parse(keys) == replace(GPT_OSS_20B, rope_theta=10_000.0)


@pytest.mark.parametrize(
    "key",
    [
        "attention_bias",
        "hidden_act",
        "layer_types",
        "max_position_embeddings",
        "quantization_config",
        "rope_scaling/beta_fast",
        "rope_scaling/beta_slow",
        "rope_scaling/truncate",
        "swiglu_limit",
        "tie_word_embeddings",
    ],
)
def test_a_key_that_has_one_sensible_value_may_be_missing(key: str) -> None:
    """What the released model has is taken for it."""
    assert parse(changed(key, GONE)) == GPT_OSS_20B


@pytest.mark.parametrize("key", ["architectures", "eos_token_id", "use_cache"])
def test_a_key_that_no_tensor_depends_on_is_not_read(key: str) -> None:
    """Anything may stand there."""
    assert parse(changed(key, {"any": ["thing"]})) == GPT_OSS_20B


def test_hugging_face_keys_are_the_released_ones() -> None:
    """Written out, the config has the released keys and values."""
    gone = {"quantization_config", "transformers_version"}

    assert hugging_face_keys(GPT_OSS_20B) == {
        key: value for key, value in RELEASED.items() if key not in gone
    }


@pytest.mark.parametrize(
    "config",
    [
        GPT_OSS_20B,
        replace(GPT_OSS_20B, swiglu_alpha=1.5, swiglu_limit=5.0),
        replace(GPT_OSS_20B, layer_types=("full_attention",) * 24, rms_norm_eps=1e-6),
        replace(
            GPT_OSS_20B,
            rope_scaling=RopeScaling(2.0, 16.0, 2.0, 1000),
            max_position_embeddings=77,
        ),
    ],
)
def test_keys_written_and_read_give_the_config_back(config: ModelConfig) -> None:
    """Nothing that the model computes with is lost on the way, JSON included."""
    keys = json.loads(json.dumps(hugging_face_keys(config)))

    assert parse(keys) == config


@pytest.mark.parametrize(
    "key",
    [
        "attention_bias",
        "hidden_act",
        "layer_types",
        "max_position_embeddings",
        "quantization",
        "quantization_config",
        "rope_parameters",
        "swiglu_alpha",
        "swiglu_limit",
        "tie_word_embeddings",
    ],
)
def test_null_is_as_good_as_absent(key: str) -> None:
    """Other programs write null for what they do not set."""
    released = parse(changed(key, GONE))

    assert parse(changed(key, None)) == released


INSIDE = {**ROPE, "rope_theta": 150000}


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_scaling": ROPE, "rope_theta": 150000, "rope_parameters": None},
        {"rope_scaling": INSIDE},
        {"rope_scaling": INSIDE, "rope_theta": None, "rope_parameters": None},
        {"rope_scaling": LEGACY, "rope_theta": 150000},
        {"rope_scaling": {**LEGACY, "rope_type": None}, "rope_theta": 150000},
        {"rope_scaling": {**ROPE, "type": "yarn"}, "rope_theta": 150000},
        {"rope_parameters": INSIDE, "rope_scaling": None},
        {"rope_parameters": {**ROPE, "rope_theta": None}, "rope_theta": 150000},
    ],
)
def test_every_spelling_of_the_rotation_says_the_same(spelling: dict[str, Any]) -> None:
    """Those of transformers 4 and 5, and what programs between them wrote."""
    rest = {k: v for k, v in RELEASED.items() if not k.startswith("rope_")}

    assert parse({**rest, **spelling}) == parse(RELEASED)
