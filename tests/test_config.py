from __future__ import annotations

import errno
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptoss_mlx.config import ModelConfig, Quantization, RopeScaling
from gptoss_mlx.config_json import hugging_face_keys, parse_config, read_config
from gptoss_mlx.errors import (
    ConfigError,
    GptOssError,
    NoCheckpointError,
    NoPermissionError,
    QuantizationError,
    UnsupportedModelError,
)
from gptoss_mlx.files import MAX_JSON_BYTES, has_file

# config.json of openai/gpt-oss-20b, every field.
RELEASED: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 200002,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2880,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "output_router_logits": False,
    "pad_token_id": 199999,
    "quantization_config": {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "rope_type": "yarn",
        "truncate": False,
    },
    "rope_theta": 150000,
    "router_aux_loss_coef": 0.9,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "transformers_version": "4.55.0.dev0",
    "use_cache": True,
    "vocab_size": 201088,
}
# original/config.json of the same, every field.
ORIGINAL: dict[str, Any] = {
    "num_hidden_layers": 24,
    "num_experts": 32,
    "experts_per_token": 4,
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "swiglu_limit": 7.0,
    "head_dim": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "sliding_window": 128,
    "initial_context_length": 4096,
    "rope_theta": 150000,
    "rope_scaling_factor": 32.0,
    "rope_ntk_alpha": 1,
    "rope_ntk_beta": 32,
}
GPT_OSS_20B = ModelConfig(
    num_hidden_layers=24,
    hidden_size=2880,
    intermediate_size=2880,
    num_local_experts=32,
    num_experts_per_tok=4,
    num_attention_heads=64,
    num_key_value_heads=8,
    head_dim=64,
    vocab_size=201088,
    sliding_window=128,
    layer_types=("sliding_attention", "full_attention") * 12,
    rms_norm_eps=1e-5,
    swiglu_limit=7.0,
    swiglu_alpha=1.702,
    rope_theta=150000.0,
    rope_scaling=RopeScaling(32.0, 32.0, 1.0, 4096),
    max_position_embeddings=131072,
)
GONE = object()
MXFP4 = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
ROUTER = "model.layers.0.mlp.router"


def changed(path: str, value: object) -> dict[str, Any]:
    """The released keys with one of them, ``outer/inner``, replaced or (GONE) removed."""
    keys: dict[str, Any] = json.loads(json.dumps(RELEASED))
    *outer, last = path.split("/")
    inside = keys
    for key in outer:
        inside = inside[key]
    inside[last] = value
    if value is GONE:
        del inside[last]
    return keys


def refused(keys: dict[str, Any], error: type[GptOssError], message: str) -> None:
    """Assert that the keys are refused with this error, this message and a hint."""
    with pytest.raises(error) as caught:
        parse_config(keys, source="c")
    assert type(caught.value) is error
    assert str(caught.value) == message
    assert re.fullmatch(r"[A-Z].*", caught.value.hint)


def write(folder: Path, content: str | bytes) -> Path:
    """Write a folder's config.json."""
    path = folder / "config.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# What is read.


def test_the_released_config_of_20b() -> None:
    """Every number is where it belongs."""
    assert parse_config(RELEASED, source="c") == GPT_OSS_20B


def test_the_released_config_of_120b() -> None:
    """It differs in layers and experts only."""
    keys = {
        **RELEASED,
        "layer_types": ["sliding_attention", "full_attention"] * 18,
        "num_hidden_layers": 36,
        "num_local_experts": 128,
    }

    assert parse_config(keys, source="c") == replace(
        GPT_OSS_20B,
        num_hidden_layers=36,
        num_local_experts=128,
        layer_types=("sliding_attention", "full_attention") * 18,
    )


def test_openais_own_config_says_the_same() -> None:
    """``original/config.json`` is read under other names, to an equal config."""
    assert parse_config(ORIGINAL, source="c") == GPT_OSS_20B


@pytest.mark.parametrize("rope_scaling", [GONE, None])
def test_transformers_5_spelling_says_the_same(rope_scaling: object) -> None:
    """``rope_parameters`` holds rope_theta too, and YaRN is not lost."""
    keys = changed("rope_scaling", rope_scaling)
    del keys["rope_theta"]
    keys["rope_parameters"] = {**RELEASED["rope_scaling"], "rope_theta": 150000}
    keys["swiglu_alpha"] = 1.702

    assert parse_config(keys, source="c") == GPT_OSS_20B


def test_rope_theta_beside_rope_parameters() -> None:
    """It counts where rope_parameters has none."""
    keys = changed("rope_scaling", GONE)
    keys["rope_parameters"] = RELEASED["rope_scaling"]
    keys["rope_theta"] = 10_000

    assert parse_config(keys, source="c") == replace(GPT_OSS_20B, rope_theta=10_000.0)


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
    assert parse_config(changed(key, GONE), source="c") == GPT_OSS_20B


@pytest.mark.parametrize("key", ["architectures", "eos_token_id", "use_cache"])
def test_a_key_that_no_tensor_depends_on_is_not_read(key: str) -> None:
    """Anything may stand there."""
    assert parse_config(changed(key, {"any": ["thing"]}), source="c") == GPT_OSS_20B


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

    assert parse_config(keys, source="c") == config


# MLX's quantization dictionary.


def test_a_quantization_table_has_a_default_and_exceptions() -> None:
    """A module's own entry counts, then the default; false means not quantized."""
    keys = changed(
        "quantization",
        {**MXFP4, "lm_head": {"group_size": 64, "bits": 8}, ROUTER: False},
    )

    table = parse_config(keys, source="c").quantization

    assert table is not None
    assert table.of("model.embed_tokens") == Quantization(32, 4, "mxfp4")
    assert table.of("lm_head") == Quantization(64, 8, "affine")
    assert table.of(ROUTER) is None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (True, "c: quantization: 'lm_head' must be an object or false but is True."),
        (None, "c: quantization: 'lm_head' must be an object or false but is None."),
        ([32, 4], "c: quantization: 'lm_head' must be an object or false but is [32, 4]."),
        (
            {"bits": 4},
            "c: quantization: 'lm_head': group_size must be an integer but is missing.",
        ),
        (
            {"group_size": 32, "bits": "4"},
            "c: quantization: 'lm_head': bits must be an integer but is '4'.",
        ),
        (
            {"group_size": 32, "bits": True},
            "c: quantization: 'lm_head': bits must be an integer but is True.",
        ),
        (
            {"group_size": 32, "bits": 7},
            "c: quantization: 'lm_head': Mode 'affine' must have bits in "
            "(2, 3, 4, 5, 6, 8) and group_size in (32, 64, 128) "
            "but has bits 7 and group_size 32.",
        ),
        (
            {"group_size": 16, "bits": 8},
            "c: quantization: 'lm_head': Mode 'affine' must have bits in "
            "(2, 3, 4, 5, 6, 8) and group_size in (32, 64, 128) "
            "but has bits 8 and group_size 16.",
        ),
        (
            {"group_size": 64, "bits": 4, "mode": "mxfp4"},
            "c: quantization: 'lm_head': Mode 'mxfp4' must have bits 4 and group_size 32 "
            "but has bits 4 and group_size 64.",
        ),
        (
            {"group_size": 32, "bits": 4, "mode": "nvfp4"},
            "c: quantization: 'lm_head': Quantization mode must be 'affine' or 'mxfp4' "
            "but is 'nvfp4'.",
        ),
        (
            {"group_size": 32, "bits": 4, "mode": ["mxfp4"]},
            "c: quantization: 'lm_head': Quantization mode must be 'affine' or 'mxfp4' "
            "but is ['mxfp4'].",
        ),
    ],
)
def test_a_wrong_quantization_entry_is_refused(entry: object, message: str) -> None:
    """The message names the module, the rule and the value."""
    keys = changed("quantization", {**MXFP4, "lm_head": entry})

    refused(keys, QuantizationError, message)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (4, ConfigError, "c: quantization must be an object but is 4."),
        (
            {},
            QuantizationError,
            "c: quantization: group_size must be an integer but is missing.",
        ),
        (
            {"group_size": 32, "bits": False},
            QuantizationError,
            "c: quantization: bits must be an integer but is False.",
        ),
    ],
)
def test_a_wrong_quantization_default_is_refused(
    table: object, error: type[GptOssError], message: str
) -> None:
    """The default is held to the same rules as an entry."""
    refused(changed("quantization", table), error, message)


def test_another_quantization_method_is_refused() -> None:
    """Tensors quantized by another tool are not taken for MXFP4."""
    refused(
        changed("quantization_config", {"quant_method": "gptq"}),
        UnsupportedModelError,
        "c: quantization_config must have quant_method 'mxfp4' but has 'gptq'.",
    )


# Other models.


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "llama", "c: model_type must be 'gpt_oss' but is 'llama'."),
        ("model_type", None, "c: model_type must be 'gpt_oss' but is None."),
        ("hidden_act", "gelu", "c: hidden_act must be 'silu' but is 'gelu'."),
        ("attention_bias", False, "c: attention_bias must be True but is False."),
        (
            "tie_word_embeddings",
            True,
            "c: tie_word_embeddings must be False but is True.",
        ),
        (
            "rope_scaling/truncate",
            True,
            "c: rope_scaling: truncate must be False but is True.",
        ),
        (
            "rope_scaling/rope_type",
            "linear",
            "c: rope_scaling: rope_type must be 'yarn' but is 'linear'.",
        ),
        (
            "rope_scaling/rope_type",
            GONE,
            "c: rope_scaling: rope_type must be 'yarn' but is None.",
        ),
    ],
)
def test_another_model_is_refused(key: str, value: object, message: str) -> None:
    """What nothing here computes is not computed wrongly."""
    refused(changed(key, value), UnsupportedModelError, message)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        changed("model_type", GONE),
        {key: value for key, value in ORIGINAL.items() if key != "num_experts"},
        {key: value for key, value in ORIGINAL.items() if key != "rope_scaling_factor"},
    ],
)
def test_keys_of_no_known_spelling_are_refused(keys: dict[str, Any]) -> None:
    """Without model_type and without OpenAI's own keys it is no config of gpt-oss."""
    refused(
        keys,
        UnsupportedModelError,
        "c: must have model_type 'gpt_oss', or OpenAI's own keys, but has neither.",
    )


# Wrong values.

INTEGERS = [
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_experts_per_tok",
    "num_hidden_layers",
    "num_key_value_heads",
    "num_local_experts",
    "sliding_window",
    "vocab_size",
]


@pytest.mark.parametrize("key", INTEGERS)
def test_a_missing_size_is_refused(key: str) -> None:
    """The message names it."""
    refused(changed(key, GONE), ConfigError, f"c: {key} must be an integer but is missing.")


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta"])
def test_a_missing_number_is_refused(key: str) -> None:
    """The message names it."""
    refused(changed(key, GONE), ConfigError, f"c: {key} must be a number but is missing.")


@pytest.mark.parametrize("key", sorted(set(ORIGINAL) - {"swiglu_limit"}))
def test_a_key_missing_from_openais_own_config_is_refused(key: str) -> None:
    """No size is guessed."""
    keys = {other: value for other, value in ORIGINAL.items() if other != key}

    with pytest.raises(ConfigError, match=r"but (is missing|has neither)"):
        parse_config(keys, source="c")


@pytest.mark.parametrize("key", ["factor", "original_max_position_embeddings"])
def test_a_missing_parameter_of_yarn_is_refused(key: str) -> None:
    """The message says in which object it is missing."""
    with pytest.raises(ConfigError, match=rf"^c: rope_scaling: {key} must .* is missing"):
        parse_config(changed(f"rope_scaling/{key}", GONE), source="c")


def test_no_yarn_at_all_is_refused() -> None:
    """A model that silently lost YaRN would still talk."""
    refused(
        changed("rope_scaling", GONE),
        ConfigError,
        "c: rope_scaling must be an object but is missing.",
    )


@pytest.mark.parametrize("key", [*INTEGERS, "max_position_embeddings"])
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (True, "an integer but is True"),
        (64.0, "an integer but is 64.0"),
        ("64", "an integer but is '64'"),
        ([64], "an integer but is [64]"),
        (float("nan"), "an integer but is nan"),
        (0, "from 1 to 16,777,216 but is 0"),
        (-64, "from 1 to 16,777,216 but is -64"),
        (1 << 25, "from 1 to 16,777,216 but is 33554432"),
        (10**400, f"from 1 to 16,777,216 but is 1{'0' * 76}..."),
        pytest.param(
            10**5_000, "from 1 to 16,777,216 but is something very large", id="10^5000"
        ),
    ],
)
def test_a_size_of_the_wrong_kind_is_refused(key: str, value: object, rule: str) -> None:
    """The message names it, the rule and the value, cut to a line."""
    refused(changed(key, value), ConfigError, f"c: {key} must be {rule}.")


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
    released = parse_config(changed(key, GONE), source="c")

    assert parse_config(changed(key, None), source="c") == released


@pytest.mark.parametrize("key", INTEGERS)
def test_null_for_a_size_is_refused(key: str) -> None:
    """There is no default for it."""
    refused(changed(key, None), ConfigError, f"c: {key} must be an integer but is None.")


ROPE = {**RELEASED["rope_scaling"]}
LEGACY = {"type" if key == "rope_type" else key: value for key, value in ROPE.items()}
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

    assert parse_config({**rest, **spelling}, source="c") == parse_config(
        RELEASED, source="c"
    )


def test_another_rotation_in_the_legacy_spelling_is_refused() -> None:
    """It is YaRN that is computed."""
    refused(
        changed("rope_scaling", {**LEGACY, "type": "linear"}),
        UnsupportedModelError,
        "c: rope_scaling: type must be 'yarn' but is 'linear'.",
    )


@pytest.mark.parametrize(
    "key", ["rms_norm_eps", "rope_theta", "swiglu_alpha", "swiglu_limit"]
)
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (True, "a number but is True"),
        ("1", "a number but is '1'"),
        (float("nan"), "a positive number but is nan"),
        (float("inf"), "a positive number but is inf"),
        (0, "a positive number but is 0"),
        (-1.5, "a positive number but is -1.5"),
        (10**400, f"a positive number but is 1{'0' * 76}..."),
    ],
)
def test_a_number_of_the_wrong_kind_is_refused(key: str, value: object, rule: str) -> None:
    """The message names it, the rule and the value, cut to a line."""
    refused(changed(key, value), ConfigError, f"c: {key} must be {rule}.")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("full", "a list of sliding_attention and full_attention but is 'full'"),
        (
            ["full_attention"] * 23 + ["chunked_attention"],
            "a list of sliding_attention and full_attention but is "
            + repr(["full_attention"] * 24)[:77]
            + "...",
        ),
        (
            [[]] * 24,
            "a list of sliding_attention and full_attention but is "
            + repr([[]] * 24)[:77]
            + "...",
        ),
    ],
)
def test_wrong_layer_types_are_refused(found: object, message: str) -> None:
    """Only the two kinds of attention are known."""
    refused(
        changed("layer_types", found), ConfigError, f"c: layer_types must be {message}."
    )


@pytest.mark.parametrize("count", [0, 23, 25])
def test_layer_types_of_another_length_are_refused(count: int) -> None:
    """Each layer has exactly one."""
    refused(
        changed("layer_types", ["full_attention"] * count),
        ConfigError,
        f"c: layer_types must have num_hidden_layers = 24 entries but has {count}.",
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_size", 2881, "hidden_size must be a multiple of 32 but is 2881"),
        ("intermediate_size", 16, "intermediate_size must be a multiple of 32 but is 16"),
        ("head_dim", 63, "head_dim must be even but is 63"),
        (
            "num_key_value_heads",
            7,
            "num_attention_heads must be a multiple of num_key_value_heads = 7 but is 64",
        ),
        (
            "num_experts_per_tok",
            33,
            "num_experts_per_tok must be at most num_local_experts = 32 but is 33",
        ),
        (
            "head_dim",
            1 << 24,
            "num_attention_heads times head_dim must be at most 16,777,216 "
            "but is 1,073,741,824",
        ),
        ("rope_theta", 1, "rope_theta must be over 1 but is 1.0"),
        ("rope_scaling/factor", 0.5, "factor must be at least 1 but is 0.5"),
        ("rope_scaling/beta_fast", 1, "beta_fast must be over beta_slow = 1.0 but is 1.0"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(
    key: str, value: object, message: str
) -> None:
    """What the model's arithmetic needs is checked before there is a model."""
    refused(changed(key, value), ConfigError, f"c: {message}.")


@pytest.mark.parametrize("spelling", [RELEASED, ORIGINAL])
def test_a_million_layers_are_refused(spelling: dict[str, Any]) -> None:
    """A wrong number must not make the reader list a million layers' tensors."""
    keys = {**spelling, "num_hidden_layers": 1_000_000}
    keys.pop("layer_types", None)

    refused(keys, ConfigError, "c: num_hidden_layers must be at most 1000 but is 1000000.")


# The file.


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    """The message names the folder and what it must have."""
    with pytest.raises(NoCheckpointError) as caught:
        read_config(tmp_path)

    assert str(caught.value) == f"{tmp_path} must have a config.json but has none."
    assert caught.value.hint == NoCheckpointError.hint


def test_a_folder_with_a_config_in_original_only_hints_at_it(tmp_path: Path) -> None:
    """Who fetched OpenAI's own files alone is told which folder to name."""
    (tmp_path / "original").mkdir()
    write(tmp_path / "original", json.dumps(ORIGINAL))
    with pytest.raises(NoCheckpointError) as caught:
        read_config(tmp_path)

    assert caught.value.hint == f"Name the folder inside it: {tmp_path / 'original'}"
    assert read_config(tmp_path / "original") == GPT_OSS_20B


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("x")])
def test_a_config_that_is_no_file_is_none(make: Any, tmp_path: Path) -> None:
    """A pipe, a folder or a dangling link is no config.json, and nothing waits for it."""
    make(tmp_path / "config.json")

    assert not has_file(tmp_path / "config.json")
    with pytest.raises(NoCheckpointError, match=r"must have a config\.json but has none"):
        read_config(tmp_path)


def test_a_linked_config_is_read(tmp_path: Path) -> None:
    """Hugging Face's cache holds nothing but links."""
    (tmp_path / "blob").write_text(json.dumps(RELEASED))
    (tmp_path / "config.json").symlink_to("blob")

    assert read_config(tmp_path) == GPT_OSS_20B


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "must be JSON: Expecting value: line 1 column 1 (char 0)."),
        (
            '{"model_type": "gpt_oss"',
            "must be JSON: Expecting ',' delimiter: line 1 column 25 (char 24).",
        ),
        (
            b'{"\xff": 1}',
            "must be JSON: 'utf-8' codec can't decode byte 0xff in position 2: "
            "invalid start byte.",
        ),
        ("[1]", "must be a JSON object but is [1]."),
        ("null", "must be a JSON object but is None."),
        ('"text"', "must be a JSON object but is 'text'."),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(
    content: str | bytes, reason: str, tmp_path: Path
) -> None:
    """The message names the file, says what is wrong and where."""
    path = write(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)

    assert str(caught.value) == f"{path}: {reason}"
    assert caught.value.hint == "Download config.json again from the checkpoint's source."


@pytest.mark.parametrize("depth", [900, 940, 960, 980, 1_000, 100_000])
@pytest.mark.parametrize("key", ["hidden_size", "model_type", "quantization"])
def test_deep_nesting_is_refused(depth: int, key: str, tmp_path: Path) -> None:
    """Neither the parser nor the message falls over it."""
    text = json.dumps(changed(key, "HERE"))
    write(tmp_path, text.replace('"HERE"', "[" * depth + "]" * depth))

    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)

    assert len(str(caught.value)) <= len(str(tmp_path)) + 150


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000])
def test_numbers_that_json_should_not_have_are_refused(number: str, tmp_path: Path) -> None:
    """What Python's parser lets through is refused after it."""
    text = json.dumps(changed("rms_norm_eps", "HERE"))
    write(tmp_path, text.replace('"HERE"', number))

    with pytest.raises(ConfigError, match=r"config\.json: "):
        read_config(tmp_path)


def test_half_a_surrogate_pair_is_shown_escaped(tmp_path: Path) -> None:
    """A message can be printed whatever the file says."""
    text = json.dumps(changed("quantization", {**MXFP4, "HERE": 1}))
    write(tmp_path, text.replace("HERE", "\\ud800\\u001b[2J"))
    with pytest.raises(QuantizationError) as caught:
        read_config(tmp_path)

    assert r"quantization: '\ud800\x1b[2J' must be an object" in str(caught.value)
    assert str(caught.value).encode()


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    """Weights under the name of config.json do not fill the memory."""
    path = write(tmp_path, "{}")
    os.truncate(path, 13_761_316_904)
    with pytest.raises(ConfigError) as caught:
        read_config(tmp_path)

    assert str(caught.value) == (
        f"{path}: must have at most {MAX_JSON_BYTES:,} bytes but has 13,761,316,904."
    )


@pytest.mark.parametrize("place", ["pathlib.Path.stat", "os.open"])
def test_an_unreadable_config_is_a_permission_error(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal of the operating system is not taken for an absence."""
    path = write(tmp_path, json.dumps(RELEASED))

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(place, refuse)
    with pytest.raises(NoPermissionError) as caught:
        read_config(tmp_path)

    assert str(caught.value) == f"{path}: Permission denied."
