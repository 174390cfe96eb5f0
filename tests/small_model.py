"""A model of few numbers, for tests of what is around the arithmetic."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
from golden import VOCAB_SIZE
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import load_model
from gptoss_mlx.model.transformer import Model

__all__ = ["HEAD_DIM", "KEY_VALUE_HEADS", "load_small_model", "write_small_checkpoint"]

HEAD_DIM, KEY_VALUE_HEADS = 16, 1


def write_small_checkpoint(folder: Path, window: int) -> None:
    """Write a checkpoint whose prefill costs a tenth of a golden case's."""
    write_tiny_checkpoint(
        folder,
        sliding_window=window,
        vocab_size=VOCAB_SIZE,
        hidden_size=32,
        intermediate_size=32,
        num_local_experts=4,
        num_experts_per_tok=2,
        num_attention_heads=2,
        num_key_value_heads=KEY_VALUE_HEADS,
        head_dim=HEAD_DIM,
    )


def load_small_model(folder: Path, window: int) -> Model:
    """Write that checkpoint into a folder, and load it in float32."""
    write_small_checkpoint(folder, window)
    return load_model(folder, dtype=mx.float32)
