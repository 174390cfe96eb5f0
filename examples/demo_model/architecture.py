"""The sizes of the demo model: gpt-oss's architecture, as its config.json states it."""

from __future__ import annotations

from typing import Any

from gptoss_mlx.tokenizer import VOCAB_SIZE

CONFIG: dict[str, Any] = {
    "architectures": ["GptOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.0,
    "eos_token_id": 200002,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 128,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "max_position_embeddings": 131072,
    "model_type": "gpt_oss",
    "num_attention_heads": 4,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "num_local_experts": 8,
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
    "use_cache": True,
    "vocab_size": VOCAB_SIZE,
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
