"""Yields the bytes of the output's tensors: copied from the source, or quantized.

The next piece is made while the caller hashes and writes one.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

from gptoss_mlx.checkpoint.folder import Checkpoint

from .plan import OutputTensor
from .quantize import PIECE_BYTES, quantize_rows
from .source_files import SourceDigests

__all__ = ["Pieces"]


class Pieces:
    """Yields the bytes of a file's tensors, in the order of writing."""

    def __init__(
        self, checkpoint: Checkpoint, digests: SourceDigests, executor: Executor
    ) -> None:
        """Begin a file.

        Args:
            checkpoint: The source.
            digests: Gets every byte of the source that is read.
            executor: Has one thread, in which the pieces are made.
        """
        self._executor = executor
        self._checkpoint = checkpoint
        self._digests = digests
        # A weight's scales and biases, made with it and written after it.
        self._kept: dict[str, list[bytes]] = {}

    def __call__(self, tensor: OutputTensor) -> Iterator[bytes]:
        """Yield the bytes of a tensor, a piece at a time."""
        pieces = self._make(tensor)
        coming = self._executor.submit(next, pieces, None)
        while (piece := coming.result()) is not None:
            coming = self._executor.submit(next, pieces, None)
            yield piece

    def _make(self, tensor: OutputTensor) -> Iterator[bytes]:
        done = 0

        def hear(piece: bytes) -> None:
            nonlocal done
            self._digests.add(tensor, done, piece)
            done += len(piece)

        if tensor.packing is None:
            for piece in self._checkpoint.chunks(tensor.source, chunk_bytes=PIECE_BYTES):
                hear(piece)
                yield piece
        elif tensor.name.endswith(".weight"):
            module = tensor.name.removesuffix(".weight")
            scales = self._kept[f"{module}.scales"] = []
            biases = self._kept[f"{module}.biases"] = []
            for rows in quantize_rows(
                self._checkpoint, tensor.source, tensor.packing, hear=hear
            ):
                scales.append(rows.scales)
                biases.append(rows.biases)
                yield rows.weight
        else:
            yield from self._kept.pop(tensor.name)
