"""Our model and mlx-lm's, of one shape and quantized alike, to be counted and timed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import mlx.nn as nn

from gptoss_mlx.config import MXFP4_BITS, MXFP4_GROUP_SIZE, ModelConfig
from gptoss_mlx.model.transformer import Model

__all__ = ["mlx_lm_model", "our_model"]


def our_model(config: ModelConfig) -> Any:
    """Make ours, with 8-bit attention. Nothing is evaluated."""
    model = Model(config)
    nn.quantize(model, 32, 8, class_predicate=_is_attention)
    return model


def mlx_lm_model(config: ModelConfig) -> Any:
    """Make mlx-lm's, with 8-bit attention and MXFP4 experts. Nothing is evaluated."""
    # Imported here, as it takes seconds.
    from mlx_lm.models import gpt_oss

    model = gpt_oss.Model(
        gpt_oss.ModelArgs(
            model_type="gpt_oss",
            num_hidden_layers=config.num_hidden_layers,
            num_local_experts=config.num_local_experts,
            num_experts_per_tok=config.num_experts_per_tok,
            vocab_size=config.vocab_size,
            rms_norm_eps=config.rms_norm_eps,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            head_dim=config.head_dim,
            num_attention_heads=config.num_attention_heads,
            num_key_value_heads=config.num_key_value_heads,
            sliding_window=config.sliding_window,
            rope_theta=int(config.rope_theta),
            rope_scaling={"rope_type": "yarn", **asdict(config.rope_scaling)},
        )
    )
    nn.quantize(model, 32, 8, class_predicate=_is_attention)
    nn.quantize(
        model, MXFP4_GROUP_SIZE, MXFP4_BITS, mode="mxfp4", class_predicate=_is_expert
    )
    return model


def _is_attention(path: str, module: nn.Module) -> bool:
    return "self_attn" in path and isinstance(module, nn.Linear)


def _is_expert(path: str, module: nn.Module) -> bool:
    return "experts" in path and hasattr(module, "to_quantized")
