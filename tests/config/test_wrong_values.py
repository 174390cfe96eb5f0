"""Keys of config.json that are refused."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import refused
from released_config import GONE, LEGACY, ORIGINAL, RELEASED, changed, parse

from gptoss_mlx.errors import ConfigError, UnsupportedModelError

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
    refused(parse, changed(key, value), UnsupportedModelError, message)


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
        parse,
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
    refused(
        parse,
        changed(key, GONE),
        ConfigError,
        f"c: {key} must be an integer but is missing.",
    )


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta"])
def test_a_missing_number_is_refused(key: str) -> None:
    """The message names it."""
    refused(
        parse, changed(key, GONE), ConfigError, f"c: {key} must be a number but is missing."
    )


@pytest.mark.parametrize("key", sorted(set(ORIGINAL) - {"swiglu_limit"}))
def test_a_key_missing_from_openais_own_config_is_refused(key: str) -> None:
    """No size is guessed."""
    keys = {other: value for other, value in ORIGINAL.items() if other != key}

    with pytest.raises(ConfigError, match=r"but (is missing|has neither)"):
        parse(keys)


@pytest.mark.parametrize("key", ["factor", "original_max_position_embeddings"])
def test_a_missing_parameter_of_yarn_is_refused(key: str) -> None:
    """The message says in which object it is missing."""
    with pytest.raises(ConfigError, match=rf"^c: rope_scaling: {key} must .* is missing"):
        parse(changed(f"rope_scaling/{key}", GONE))


def test_no_yarn_at_all_is_refused() -> None:
    """A model that silently lost YaRN would still talk."""
    refused(
        parse,
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
    refused(parse, changed(key, value), ConfigError, f"c: {key} must be {rule}.")


@pytest.mark.parametrize("key", INTEGERS)
def test_null_for_a_size_is_refused(key: str) -> None:
    """There is no default for it."""
    refused(
        parse, changed(key, None), ConfigError, f"c: {key} must be an integer but is None."
    )


def test_another_rotation_in_the_legacy_spelling_is_refused() -> None:
    """It is YaRN that is computed."""
    refused(
        parse,
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
    refused(parse, changed(key, value), ConfigError, f"c: {key} must be {rule}.")


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
        parse,
        changed("layer_types", found),
        ConfigError,
        f"c: layer_types must be {message}.",
    )


@pytest.mark.parametrize("count", [0, 23, 25])
def test_layer_types_of_another_length_are_refused(count: int) -> None:
    """Each layer has exactly one."""
    refused(
        parse,
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
    refused(parse, changed(key, value), ConfigError, f"c: {message}.")


@pytest.mark.parametrize("spelling", [RELEASED, ORIGINAL])
def test_a_million_layers_are_refused(spelling: dict[str, Any]) -> None:
    """A wrong number must not make the reader list a million layers' tensors."""
    keys = {**spelling, "num_hidden_layers": 1_000_000}
    keys.pop("layer_types", None)

    refused(
        parse,
        keys,
        ConfigError,
        "c: num_hidden_layers must be at most 1000 but is 1000000.",
    )
