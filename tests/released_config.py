"""The config.json of gpt-oss-20b, in both spellings, and changes to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gptoss_mlx.config import ModelConfig, RopeScaling
from gptoss_mlx.config_json import parse_config

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


def parse(keys: dict[str, Any]) -> ModelConfig:
    """Parse keys as those of a file called c."""
    return parse_config(keys, source="c")


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


def write(folder: Path, content: str | bytes) -> Path:
    """Write a folder's config.json."""
    path = folder / "config.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


ROPE = {**RELEASED["rope_scaling"]}
LEGACY = {"type" if key == "rope_type" else key: value for key, value in ROPE.items()}
