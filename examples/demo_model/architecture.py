"""The sizes of the demo model: gpt-oss's architecture, as its config.json states it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gptoss_mlx.config import RELEASED
from gptoss_mlx.config_json import hugging_face_keys

CONFIG: dict[str, Any] = {
    **hugging_face_keys(
        replace(
            RELEASED["20b"],
            hidden_size=128,
            intermediate_size=64,
            layer_types=RELEASED["20b"].layer_types[:4],
            num_attention_heads=4,
            num_hidden_layers=4,
            num_key_value_heads=2,
            num_local_experts=8,
        )
    ),
    "quantization_config": {
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
        "quant_method": "mxfp4",
    },
}

HIDDEN = CONFIG["hidden_size"]
INTERMEDIATE = CONFIG["intermediate_size"]
EXPERTS = CONFIG["num_local_experts"]
TOP_K = CONFIG["num_experts_per_tok"]
LAYERS = CONFIG["num_hidden_layers"]
HEADS = CONFIG["num_attention_heads"]
KV_HEADS = CONFIG["num_key_value_heads"]
GROUP = HEADS // KV_HEADS
HEAD_DIM = CONFIG["head_dim"]
WINDOW = CONFIG["sliding_window"]
TOPIC_DIMS = 64
"""Of the embedding, that start as coordinates of topics. A key-value head has as many."""
