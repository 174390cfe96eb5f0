"""Makes the parts of a model that are read from a checkpoint's files when needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlx.core as mx
import numpy as np

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.checkpoint.row_reader import RowReader, Rows
from gptoss_mlx.checkpoint.safetensors import DTYPE_BYTES
from gptoss_mlx.config import ModelConfig
from gptoss_mlx.model.expert_slots import (
    EXPERT_TENSORS,
    ExpertSlots,
    ExpertTensor,
    StreamingStats,
)
from gptoss_mlx.model.streamed_embedding import DTYPES, EMBEDDING, StreamedEmbedding
from gptoss_mlx.model.streamed_experts import StreamedExperts

__all__ = ["Streaming"]


class Streaming:
    """The experts that are streamed from a checkpoint's files, and the embedding.

    The embedding is streamed too unless all experts fit: a step waits for its experts in
    any case, so that its token costs no other wait.

    Attributes:
        slots: How many experts of each layer are in memory.
        num_experts: How many a layer has.
        stats: What streaming has cost so far.
        nbytes: Bytes of all slots.
    """

    def __init__(self, checkpoint: Checkpoint, slots: int, dtype: mx.Dtype) -> None:
        """Prepare to stream; files are opened, and nothing is read.

        Args:
            checkpoint: The checkpoint. Its files must stay where and as they are.
            slots: How many experts of each layer to keep in memory.
            dtype: What the model computes in.
        """
        self.slots = slots
        self.num_experts = checkpoint.config.num_local_experts
        self.stats = StreamingStats()
        self.nbytes = 0
        self._checkpoint = checkpoint
        self._dtype = dtype
        self._reader = RowReader()
        for path in {tensor.path for tensor in checkpoint.files.values()}:
            self._reader.open(path)

    def experts(self, config: ModelConfig, layer: int) -> StreamedExperts:
        """Make the experts of a layer, as ``MakeExperts``."""
        prefix = f"model.layers.{layer}.mlp.experts"
        slots = ExpertSlots(
            {
                name: ExpertTensor.of(self._checkpoint, f"{prefix}.{name}")
                for name in EXPERT_TENSORS
            },
            self._reader,
            self.stats,
            num_experts=config.num_local_experts,
            count=self.slots,
        )
        self.nbytes += slots.nbytes
        return StreamedExperts(config, slots)

    @property
    def embedding(self) -> StreamedEmbedding | None:
        """The embedding, if it is streamed."""
        if self.slots == self.num_experts:
            return None
        return StreamedEmbedding(self._checkpoint, self._reader, self._dtype)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of each streamed parameter, by its name in a resident model."""
        return {
            name: view.shape
            for name, view in self._checkpoint.parameters.items()
            if self.streams(name)
        }

    def numbers(self, parameter: str, places: Sequence[int]) -> mx.array:
        """Read single numbers of a streamed parameter.

        Args:
            parameter: One of ``shapes``.
            places: Where they are in the flattened parameter.

        Returns:
            What a resident model has there. Shape ``(len(places),)``.

        Raises:
            CorruptFileError: A file has changed since the checkpoint was opened.
            StorageError: A file cannot be read.
        """
        view = self._checkpoint.parameters[parameter]
        parts = [self._checkpoint.files[part.name] for part in view.parts]
        dtype = view.dtype or parts[0].dtype
        item_bytes = DTYPE_BYTES[dtype]
        columns = int(np.prod(view.shape[2:]))  # gate and up take turns in rows of these
        memory = np.empty((len(places), item_bytes), np.uint8)
        wanted = []
        for place, into in zip(places, memory, strict=True):
            row, column = divmod(place, columns)
            part, number = parts[row % len(parts)], row // len(parts) * columns + column
            wanted.append(Rows(part, number * item_bytes, into.data))
        self._reader.read(wanted)
        found = mx.array(memory.reshape(-1)).view(DTYPES[dtype])
        is_float = mx.issubdtype(found.dtype, mx.floating)
        return found.astype(self._dtype) if is_float else found

    def streams(self, parameter: str) -> bool:
        """Whether a parameter of the model is streamed, and so not loaded."""
        if parameter.startswith(f"{EMBEDDING}."):
            return self.slots < self.num_experts
        return parameter.endswith(EXPERT_TENSORS)
