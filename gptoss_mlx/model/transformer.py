"""The gpt-oss transformer, in the order of the reference.

The skeleton (``layers``, ``make_cache``, ``model`` under ``lm_head``, the call signature)
is mlx-lm's protocol.

Source: Transformer in https://github.com/openai/gpt-oss/blob/main/gpt_oss/torch/model.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import mlx.core as mx
import mlx.nn as nn

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.model.attention import Attention, Mask, attention_mask
from gptoss_mlx.model.cache import Cache, layer_cache
from gptoss_mlx.model.experts import Experts, MixtureOfExperts
from gptoss_mlx.model.rope import Rotation, rotation_at, yarn_inv_freq

if TYPE_CHECKING:
    from gptoss_mlx.model.streaming import Streaming

__all__ = ["MakeExperts", "Model", "Transformer"]

MakeExperts = Callable[[ModelConfig, int], Experts]
"""Makes the experts of a layer, given its config and the layer's number from 0."""


def _all_experts(config: ModelConfig, layer: int) -> Experts:
    return Experts(config)


class TransformerBlock(nn.Module):
    """Attention, then experts, each with a norm before and a residual sum after."""

    def __init__(self, config: ModelConfig, layer: int, experts: Experts) -> None:
        super().__init__()
        self.self_attn = Attention(config, layer)
        self.mlp = MixtureOfExperts(config, experts)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def __call__(
        self,
        x: mx.array,
        mask: Mask,
        rotation: Rotation,
        cache: Cache | None,
        *,
        last_only: bool = False,
    ) -> mx.array:
        """Compute the block for hidden states of shape ``(B, L, hidden_size)``.

        Returns:
            Shape ``(B, L, hidden_size)``, or ``(B, 1, hidden_size)`` with ``last_only``.
        """
        x = self.attend(x, mask, rotation, cache, last_only=last_only)
        return x + self.mlp(self.post_attention_layernorm(x))

    def attend(
        self,
        x: mx.array,
        mask: Mask,
        rotation: Rotation,
        cache: Cache | None,
        *,
        last_only: bool = False,
    ) -> mx.array:
        """Compute the block's first half, as ``__call__`` does."""
        residual = x[:, -1:] if last_only else x
        return self.self_attn(self.input_layernorm(x), residual, mask, rotation, cache)


class Transformer(nn.Module):
    """Embedding, blocks and the final norm."""

    def __init__(self, config: ModelConfig, experts: MakeExperts) -> None:
        super().__init__()
        self.vocab_size = config.vocab_size
        self.embed_tokens: nn.Module = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = [
            TransformerBlock(config, layer, experts(config, layer))
            for layer in range(config.num_hidden_layers)
        ]
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self._inv_freq = yarn_inv_freq(
            config.head_dim, config.rope_theta, config.rope_scaling
        )

    def __call__(
        self,
        inputs: mx.array,
        cache: Sequence[Cache] | None = None,
        *,
        last_only: bool = False,
    ) -> mx.array:
        """Compute hidden states.

        Args:
            inputs: Token ids. Shape ``(B, L)``.
            cache: As in ``Model``.
            last_only: Whether to compute only the last position's hidden state. The last
                layer then computes only keys and values for the others.

        Returns:
            Shape ``(B, L, hidden_size)``, or ``(B, 1, hidden_size)`` with ``last_only``.
        """
        x = self.embed(inputs)
        masks: dict[tuple[int, int | None], Mask] = {}
        L = inputs.shape[1]
        rotation = self.rotation(cache[0].offset if cache else 0, L)
        for i, layer in enumerate(self.layers):
            held = cache[i] if cache is not None else None
            window = layer.self_attn.window
            ends = last_only and i == len(self.layers) - 1
            Q = 1 if ends else L
            if (Q, window) not in masks:
                K = held.fetch_length(L) if held is not None else L
                masks[Q, window] = attention_mask(Q, K, window)
            x = layer(x, masks[Q, window], rotation, held, last_only=ends)
        normed: mx.array = self.norm(x)
        return normed

    def embed(self, inputs: mx.array) -> mx.array:
        """Look up tokens ``(B, L)``; an unknown id makes its hidden state NaN."""
        # MLX reads past the end of a table without an error, so ids are checked first.
        known = (inputs >= 0) & (inputs < self.vocab_size)  # (B, L)
        x = self.embed_tokens(mx.where(known, inputs, 0))
        return mx.where(known[..., None], x, mx.array(mx.nan, x.dtype))

    def rotation(self, offset: int, length: int) -> Rotation:
        """Return the rotation of consecutive positions."""
        return rotation_at(self._inv_freq, offset, length)


class Model(nn.Module):
    """A gpt-oss model: tokens in, logits out.

    Attributes:
        config: The model's size and shape.
        streaming: The experts that are read from the files when they are needed. None: all
            are in memory.
        model: Everything below the head; ``model(tokens, cache)`` returns hidden states.
        lm_head: Hidden states to logits. To sample, apply it to the last position only.
    """

    transformer: type[Transformer] = Transformer

    def __init__(self, config: ModelConfig, *, experts: MakeExperts = _all_experts) -> None:
        """Make a model whose weights are still to be loaded.

        Args:
            experts: Makes the experts of a layer.
        """
        super().__init__()
        self.config = config
        self.model_type = "gpt_oss"
        self.streaming: Streaming | None = None
        self.model = self.transformer(config, experts)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def __call__(self, inputs: mx.array, cache: Sequence[Cache] | None = None) -> mx.array:
        """Compute logits.

        Args:
            inputs: Token ids from 0 to ``vocab_size - 1``. Shape ``(B, L)``, integer.
                Another id makes all logits of its text NaN.
            cache: From ``make_cache``: the earlier tokens; these are appended. None: the
                tokens are the whole text.

        Returns:
            Logits of every position. Shape ``(B, L, vocab_size)``.
        """
        logits: mx.array = self.lm_head(self.model(inputs, cache))
        return logits

    @property
    def layers(self) -> list[TransformerBlock]:
        """The blocks, first to last."""
        return self.model.layers

    def make_cache(self) -> list[Cache]:
        """Make an empty cache: one entry per layer."""
        return [layer_cache(self.config, kind) for kind in self.config.layer_types]
