"""Quantizes a tensor, a block of rows at a time.

Source: ``mx.quantize``,
https://ml-explore.github.io/mlx/build/html/python/_autosummary/mlx.core.quantize.html
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.config import Quantization
from gptoss_mlx.device_errors import device_errors

__all__ = ["PIECE_BYTES", "QuantizedRows", "quantize_rows", "rows_of_piece"]

PIECE_BYTES = 2 << 20

_DTYPES = {
    "BF16": (np.uint16, mx.bfloat16),
    "F16": (np.float16, mx.float16),
    "F32": (np.float32, mx.float32),
}


class QuantizedRows(NamedTuple):
    """Some rows of a quantized weight, as the bytes of its three tensors."""

    weight: bytes
    scales: bytes
    biases: bytes


def rows_of_piece(checkpoint: Checkpoint, name: str) -> int:
    """Return how many rows of the tensor ``name`` are quantized at a time."""
    row_bytes = checkpoint.nbytes_of(name) // checkpoint.views[name].shape[0]
    return max(1, PIECE_BYTES // row_bytes)


def quantize_rows(
    checkpoint: Checkpoint,
    name: str,
    packing: Quantization,
    *,
    hear: Callable[[bytes], None] = lambda piece: None,
) -> Generator[QuantizedRows]:
    """Quantize the tensor ``name``, with one block of rows in memory.

    Args:
        checkpoint: The source.
        name: Name of the tensor in the release.
        packing: How to quantize it.
        hear: Called with each piece that is read.

    It always runs on the CPU: a GPU's division differs in the last bits, and the same
    source must give the same bytes on every machine.
    """
    rows, columns = checkpoint.views[name].shape
    stored, dtype = _DTYPES[checkpoint.dtype(name)]
    row_bytes = checkpoint.nbytes_of(name) // rows
    chunk_bytes = rows_of_piece(checkpoint, name) * row_bytes
    for chunk in checkpoint.chunks(name, chunk_bytes=chunk_bytes):
        hear(chunk)
        block = np.frombuffer(chunk, stored).reshape(-1, columns)
        with device_errors(), mx.stream(mx.cpu):
            weight, scales, biases = mx.quantize(
                mx.array(block).view(dtype),
                group_size=packing.group_size,
                bits=packing.bits,
                mode=packing.mode,
            )
            # NumPy has no bfloat16: bytes come from the bits.
            as_bits = [part.view(mx.uint8) for part in (weight, scales, biases)]
            mx.eval(as_bits)
        yield QuantizedRows(*(np.asarray(part).tobytes() for part in as_bits))
