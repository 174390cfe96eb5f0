"""The bytes of a mixture of experts, which its speed depends on."""

from __future__ import annotations

from dataclasses import dataclass

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.model.footprint import (
    QuantizationOf,
    expert_bytes,
    held_bytes,
    token_weights_bytes,
    weights_of,
)

__all__ = ["ModelShape", "shape_of"]


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The bytes of a model with experts.

    Attributes:
        layers: Layers with experts.
        experts: Experts of a layer.
        chosen: Experts that a token uses in a layer.
        expert_bytes: Read from the disk where an expert is missing.
        token_bytes: Read from memory for each token, besides experts: the weights of
            attention and the head, and the cache.
        resident_bytes: All weights that always stay in memory.
    """

    layers: int
    experts: int
    chosen: int
    expert_bytes: int
    token_bytes: int
    resident_bytes: int

    @property
    def chosen_bytes(self) -> int:
        """Experts' bytes that a token reads from memory."""
        return self.layers * self.chosen * self.expert_bytes

    @property
    def experts_bytes(self) -> int:
        """All experts' bytes."""
        return self.layers * self.experts * self.expert_bytes


def shape_of(
    config: ModelConfig,
    quantization_of: QuantizationOf,
    *,
    context_tokens: int = 0,
    value_bytes: int = 2,
) -> ModelShape:
    """Describe a gpt-oss model.

    Args:
        config: The model's shape, as released.
        quantization_of: The recipe's function.
        context_tokens: Tokens whose keys and values each token reads.
        value_bytes: Bytes of a number that is not quantized.
    """
    weights = weights_of(config, quantization_of, value_bytes)
    chosen = config.num_hidden_layers * config.num_experts_per_tok
    chosen_bytes = chosen * expert_bytes(config)
    cached_bytes = held_bytes(config, context_tokens, value_bytes)
    return ModelShape(
        layers=config.num_hidden_layers,
        experts=config.num_local_experts,
        chosen=config.num_experts_per_tok,
        expert_bytes=expert_bytes(config),
        token_bytes=token_weights_bytes(config, weights) - chosen_bytes + cached_bytes,
        resident_bytes=weights.dense_bytes,
    )
