"""An embedding whose rows are read from the file when they are needed.

A token needs one row of 201,088: 6 KB in bf16. All of them take as much memory as 88
experts.
"""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.checkpoint.row_reader import RowReader, Rows

__all__ = ["DTYPES", "EMBEDDING", "StreamedEmbedding"]

EMBEDDING = "model.embed_tokens"

DTYPES = {
    "BF16": mx.bfloat16,
    "F16": mx.float16,
    "F32": mx.float32,
    "U8": mx.uint8,
    "U32": mx.uint32,
}


class StreamedEmbedding(nn.Module):
    """Looks tokens up in a checkpoint's file. It has no parameters."""

    def __init__(self, checkpoint: Checkpoint, reader: RowReader, dtype: mx.Dtype) -> None:
        """Find the table; nothing is read.

        Args:
            checkpoint: The checkpoint, with the embedding quantized or not.
            reader: Reads its files.
            dtype: What the hidden states are computed in.
        """
        super().__init__()
        self._reader = reader
        self._dtype = dtype
        self._quantization = checkpoint.quantization_of(EMBEDDING)
        # Parts of a quantized row; "weight" alone of another one.
        self._parts = {
            suffix: checkpoint.files[view.parts[0].name]
            for suffix in ("weight", "scales", "biases")
            if (view := checkpoint.parameters.get(f"{EMBEDDING}.{suffix}")) is not None
        }

    def __call__(self, tokens: mx.array) -> mx.array:
        """Look up tokens of any shape; a row's length is added to it.

        Raises:
            CorruptFileError: A file has changed since the checkpoint was opened.
            StorageError: A file cannot be read.
        """
        ids, places = np.unique(np.array(tokens), return_inverse=True)
        read: dict[str, mx.array] = {}
        wanted: list[Rows] = []
        memory = {}
        for suffix, tensor in self._parts.items():
            row_bytes = tensor.nbytes // tensor.shape[0]
            memory[suffix] = np.empty((len(ids), row_bytes), np.uint8)
            wanted += [
                Rows(tensor, row_bytes * token, memory[suffix][place].data)
                for place, token in enumerate(ids.tolist())
            ]
        self._reader.read(wanted)
        for suffix, rows in memory.items():
            array = mx.array(rows).view(DTYPES[self._parts[suffix].dtype])
            is_float = mx.issubdtype(array.dtype, mx.floating)
            read[suffix] = array.astype(self._dtype) if is_float else array
        table = self._dequantized(read)
        return table[mx.array(places.astype(np.uint32).reshape(tokens.shape))]

    def _dequantized(self, rows: dict[str, mx.array]) -> mx.array:
        how = self._quantization
        if how is None:
            return rows["weight"]
        table: mx.array = mx.dequantize(
            rows["weight"],
            rows["scales"],
            rows.get("biases"),
            group_size=how.group_size,
            bits=how.bits,
            mode=how.mode,
        )
        return table.astype(self._dtype)
