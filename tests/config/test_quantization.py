"""MLX's quantization dictionary."""

from __future__ import annotations

import pytest
from refusals import refused
from released_config import MXFP4, changed, parse

from gptoss_mlx.config import Quantization
from gptoss_mlx.errors import (
    ConfigError,
    GptOssError,
    QuantizationError,
    UnsupportedModelError,
)

ROUTER = "model.layers.0.mlp.router"


def test_a_quantization_table_has_a_default_and_exceptions() -> None:
    """A module's own entry counts, then the default; false means not quantized."""
    keys = changed(
        "quantization",
        {**MXFP4, "lm_head": {"group_size": 64, "bits": 8}, ROUTER: False},
    )

    table = parse(keys).quantization

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

    refused(parse, keys, QuantizationError, message)


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
    refused(parse, changed("quantization", table), error, message)


def test_another_quantization_method_is_refused() -> None:
    """Tensors quantized by another tool are not taken for MXFP4."""
    refused(
        parse,
        changed("quantization_config", {"quant_method": "gptq"}),
        UnsupportedModelError,
        "c: quantization_config must have quant_method 'mxfp4' but has 'gptq'.",
    )
