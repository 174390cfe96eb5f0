"""Reads and writes the keys of config.json.

Three spellings are read: Hugging Face's as released (``rope_scaling``), transformers 5's
(``rope_parameters``) and OpenAI's own (``original/config.json``).

Source: https://huggingface.co/openai/gpt-oss-20b/blob/main/config.json and ModelConfig in
https://github.com/openai/gpt-oss/blob/main/gpt_oss/torch/model.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gptoss_mlx.config import (
    MXFP4_GROUP_SIZE,
    SWIGLU_ALPHA,
    LayerType,
    ModelConfig,
    Quantization,
    QuantizationTable,
    RopeScaling,
)
from gptoss_mlx.config_reader import MAX_SIZE, ConfigReader
from gptoss_mlx.errors import (
    ConfigError,
    NoCheckpointError,
    QuantizationError,
    UnsupportedModelError,
)
from gptoss_mlx.files import has_file, read_json_object, short

__all__ = ["hugging_face_keys", "parse_config", "read_config", "read_config_keys"]

# Far above any model, but small enough that a wrong number cannot block a reader.
MAX_LAYERS = 1_000


def read_config(folder: Path) -> ModelConfig:
    """Read ``folder``'s config.json.

    Raises:
        NoCheckpointError: The file is missing.
        ConfigError: The file is invalid.
        UnsupportedModelError: The file is of another model.
        QuantizationError: Its quantization dictionary is wrong.
        StorageError: The file cannot be read.
    """
    keys = read_config_keys(folder)
    return parse_config(keys, source=str(folder / "config.json"))


def read_config_keys(folder: Path) -> dict[str, Any]:
    """Read all keys of ``folder``'s config.json.

    Raises:
        NoCheckpointError: The file is missing.
        ConfigError: The file is not a JSON object.
        StorageError: The file cannot be read.
    """
    path = folder / "config.json"
    if not has_file(path):
        inner = folder / "original"
        raise NoCheckpointError(
            f"{folder} must have a config.json but has none.",
            hint=f"Name the folder inside it: {inner}"
            if has_file(inner / "config.json")
            else None,
        )
    return read_json_object(path)


def parse_config(keys: Mapping[str, Any], *, source: str) -> ModelConfig:
    """Read a config's keys, in any of the three spellings.

    Args:
        keys: The JSON object.
        source: The name for messages.

    Raises:
        ConfigError: A key is missing or has a value of the wrong kind.
        UnsupportedModelError: The keys are of another model.
        QuantizationError: The quantization dictionary is wrong.
    """
    reader = ConfigReader(keys, source)
    if "model_type" in keys:
        config = _parse_hugging_face(reader)
    elif "num_experts" in keys and "rope_scaling_factor" in keys:
        config = _parse_openai(reader)
    else:
        raise UnsupportedModelError(
            f"{source}: must have model_type 'gpt_oss', or OpenAI's own keys, "
            "but has neither."
        )
    _check_sizes(config, source)
    return config


def hugging_face_keys(config: ModelConfig) -> dict[str, Any]:
    """Return the keys of a released config.json for ``config``, without quantization."""
    # No released config.json has this key, so it is written only if it differs.
    alpha = {"swiglu_alpha": config.swiglu_alpha}
    return {
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "eos_token_id": 200002,
        "experts_per_token": config.num_experts_per_tok,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "hidden_size": config.hidden_size,
        "initial_context_length": config.rope_scaling.original_max_position_embeddings,
        "initializer_range": 0.02,
        "intermediate_size": config.intermediate_size,
        "layer_types": list(config.layer_types),
        "max_position_embeddings": config.max_position_embeddings,
        "model_type": "gpt_oss",
        "num_attention_heads": config.num_attention_heads,
        "num_experts_per_tok": config.num_experts_per_tok,
        "num_hidden_layers": config.num_hidden_layers,
        "num_key_value_heads": config.num_key_value_heads,
        "num_local_experts": config.num_local_experts,
        "output_router_logits": False,
        "pad_token_id": 199999,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_scaling": {
            **asdict(config.rope_scaling),
            "rope_type": "yarn",
            "truncate": False,
        },
        "rope_theta": config.rope_theta,
        "router_aux_loss_coef": 0.9,
        "sliding_window": config.sliding_window,
        **(alpha if config.swiglu_alpha != SWIGLU_ALPHA else {}),
        "swiglu_limit": config.swiglu_limit,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def _parse_hugging_face(reader: ConfigReader) -> ModelConfig:
    reader.require("model_type", "gpt_oss")
    reader.require("hidden_act", "silu", default="silu")
    reader.require("attention_bias", True, default=True)
    reader.require("tie_word_embeddings", False, default=False)
    # transformers 5 moves rope_theta and rope_scaling into rope_parameters.
    has_parameters = reader.has("rope_parameters")
    rope = reader.inner("rope_parameters" if has_parameters else "rope_scaling")
    theta = rope if rope.has("rope_theta") else reader
    # transformers 4 also wrote "type", its older name.
    rope.require(
        "type" if rope.has("type") and not rope.has("rope_type") else "rope_type", "yarn"
    )
    # gpt-oss was trained without rounding the ends of YaRN's ramp.
    rope.require("truncate", False, default=False)
    num_hidden_layers = reader.integer("num_hidden_layers")
    scaling = RopeScaling(
        factor=rope.number("factor"),
        beta_fast=rope.number("beta_fast", 32.0),
        beta_slow=rope.number("beta_slow", 1.0),
        original_max_position_embeddings=rope.integer("original_max_position_embeddings"),
    )
    context = scaling.original_max_position_embeddings * scaling.factor
    return ModelConfig(
        num_hidden_layers=num_hidden_layers,
        hidden_size=reader.integer("hidden_size"),
        intermediate_size=reader.integer("intermediate_size"),
        num_local_experts=reader.integer("num_local_experts"),
        num_experts_per_tok=reader.integer("num_experts_per_tok"),
        num_attention_heads=reader.integer("num_attention_heads"),
        num_key_value_heads=reader.integer("num_key_value_heads"),
        head_dim=reader.integer("head_dim"),
        vocab_size=reader.integer("vocab_size"),
        sliding_window=reader.integer("sliding_window"),
        layer_types=_layer_types(reader, num_hidden_layers),
        rms_norm_eps=reader.number("rms_norm_eps"),
        swiglu_limit=reader.number("swiglu_limit", 7.0),
        swiglu_alpha=reader.number("swiglu_alpha", SWIGLU_ALPHA),
        rope_theta=theta.number("rope_theta"),
        rope_scaling=scaling,
        max_position_embeddings=reader.integer(
            "max_position_embeddings", min(int(context), MAX_SIZE)
        ),
        quantization=_quantization(reader),
    )


def _parse_openai(reader: ConfigReader) -> ModelConfig:
    num_hidden_layers = reader.integer("num_hidden_layers")
    scaling = RopeScaling(
        factor=reader.number("rope_scaling_factor"),
        beta_fast=reader.number("rope_ntk_beta"),
        beta_slow=reader.number("rope_ntk_alpha"),
        original_max_position_embeddings=reader.integer("initial_context_length"),
    )
    context = scaling.original_max_position_embeddings * scaling.factor
    return ModelConfig(
        num_hidden_layers=num_hidden_layers,
        hidden_size=reader.integer("hidden_size"),
        intermediate_size=reader.integer("intermediate_size"),
        num_local_experts=reader.integer("num_experts"),
        num_experts_per_tok=reader.integer("experts_per_token"),
        num_attention_heads=reader.integer("num_attention_heads"),
        num_key_value_heads=reader.integer("num_key_value_heads"),
        head_dim=reader.integer("head_dim"),
        vocab_size=reader.integer("vocab_size"),
        sliding_window=reader.integer("sliding_window"),
        layer_types=_alternating(num_hidden_layers),
        rms_norm_eps=1e-5,
        swiglu_limit=reader.number("swiglu_limit", 7.0),
        swiglu_alpha=SWIGLU_ALPHA,
        rope_theta=reader.number("rope_theta"),
        rope_scaling=scaling,
        max_position_embeddings=min(int(context), MAX_SIZE),
    )


def _alternating(num_hidden_layers: int) -> tuple[LayerType, ...]:
    """Even layers slide, odd layers are full: the reference's rule."""
    return tuple(
        "full_attention" if layer % 2 else "sliding_attention"
        for layer in range(min(num_hidden_layers, MAX_LAYERS))
    )


def _layer_types(reader: ConfigReader, num_hidden_layers: int) -> tuple[LayerType, ...]:
    found = reader.keys.get("layer_types")
    if found is None:
        return _alternating(num_hidden_layers)
    known = ("sliding_attention", "full_attention")
    if not isinstance(found, list) or any(kind not in known for kind in found):
        raise ConfigError(
            f"{reader.source}: layer_types must be a list of {' and '.join(known)} "
            f"but is {short(found)}."
        )
    if len(found) != num_hidden_layers:
        raise ConfigError(
            f"{reader.source}: layer_types must have num_hidden_layers = "
            f"{num_hidden_layers} entries but has {len(found)}."
        )
    return tuple(found)


def _quantization(reader: ConfigReader) -> QuantizationTable | None:
    if not reader.has("quantization"):
        method = reader.keys.get("quantization_config")
        if isinstance(method, dict) and method.get("quant_method") not in (
            None,
            "mxfp4",
        ):
            raise UnsupportedModelError(
                f"{reader.source}: quantization_config must have quant_method 'mxfp4' "
                f"but has {short(method.get('quant_method'))}."
            )
        return None
    table = reader.inner("quantization")
    modules: dict[str, Quantization | None] = {}
    for key, value in table.keys.items():
        if isinstance(value, dict):
            modules[key] = _packing(ConfigReader(value, f"{table.source}: {short(key)}"))
        elif value is False:
            modules[key] = None
        elif key not in ("group_size", "bits", "mode"):
            raise QuantizationError(
                f"{table.source}: {short(key)} must be an object or false "
                f"but is {short(value)}."
            )
    return QuantizationTable(_packing(table), modules)


def _packing(reader: ConfigReader) -> Quantization:
    try:
        return Quantization(
            group_size=reader.integer("group_size"),
            bits=reader.integer("bits"),
            mode=reader.keys.get("mode", "affine"),
        )
    except (ConfigError, QuantizationError) as error:
        message = str(error)
        if reader.source not in message:
            message = f"{reader.source}: {message}"
        raise QuantizationError(message) from error


def _check_sizes(config: ModelConfig, source: str) -> None:
    """Refuse sizes that do not fit together.

    Raises:
        ConfigError: The message has the rule and the values.
    """
    if config.num_hidden_layers > MAX_LAYERS:
        raise ConfigError(
            f"{source}: num_hidden_layers must be at most {MAX_LAYERS} "
            f"but is {config.num_hidden_layers}."
        )
    for key in ("hidden_size", "intermediate_size"):
        if (size := getattr(config, key)) % MXFP4_GROUP_SIZE:
            raise ConfigError(
                f"{source}: {key} must be a multiple of {MXFP4_GROUP_SIZE} but is {size}."
            )
    if config.head_dim % 2:
        raise ConfigError(f"{source}: head_dim must be even but is {config.head_dim}.")
    if config.rope_theta <= 1:
        raise ConfigError(
            f"{source}: rope_theta must be over 1 but is {config.rope_theta}."
        )
    rope = config.rope_scaling
    if rope.beta_fast <= rope.beta_slow:
        raise ConfigError(
            f"{source}: beta_fast must be over beta_slow = {rope.beta_slow} "
            f"but is {rope.beta_fast}."
        )
    if rope.factor < 1:
        raise ConfigError(f"{source}: factor must be at least 1 but is {rope.factor}.")
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    if heads % groups:
        raise ConfigError(
            f"{source}: num_attention_heads must be a multiple of "
            f"num_key_value_heads = {groups} but is {heads}."
        )
    if heads * config.head_dim > MAX_SIZE:
        raise ConfigError(
            f"{source}: num_attention_heads times head_dim must be at most {MAX_SIZE:,} "
            f"but is {heads * config.head_dim:,}."
        )
    if config.num_experts_per_tok > config.num_local_experts:
        raise ConfigError(
            f"{source}: num_experts_per_tok must be at most num_local_experts = "
            f"{config.num_local_experts} but is {config.num_experts_per_tok}."
        )
