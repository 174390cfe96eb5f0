"""Products with a linear layer's weight, for callers that add the bias later."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn

__all__ = ["product", "projection"]


def product(
    linear: nn.Linear | nn.QuantizedLinear, x: mx.array, rows: slice | None = None
) -> mx.array:
    """Multiply by a layer's weight, without its bias.

    Args:
        linear: The layer, quantized or not.
        x: Shape ``(…, in)``.
        rows: Which outputs to compute. None: all.

    Returns:
        Shape ``(…, out)``.
    """

    def part(name: str) -> mx.array:
        array: mx.array = linear[name]
        return array if rows is None else array[rows]

    if isinstance(linear, nn.QuantizedLinear):
        return mx.quantized_matmul(
            x,
            part("weight"),
            scales=part("scales"),
            biases=part("biases") if "biases" in linear else None,
            transpose=True,
            group_size=linear.group_size,
            bits=linear.bits,
            mode=linear.mode,
        )
    return x @ part("weight").T


def projection(
    linear: nn.Linear | nn.QuantizedLinear, x: mx.array, rows: slice
) -> mx.array:
    """Compute some outputs of a layer, with their bias. Shapes as in ``product``."""
    bias: mx.array = linear["bias"][rows]
    return product(linear, x, rows) + bias
