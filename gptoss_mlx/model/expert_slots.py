"""Memory for some of a layer's experts, filled from the files with those that are needed.

A slot holds one expert. The slots of a layer are rows of the same tensors that hold all
experts of a model in memory, so the same kernels compute with them: only an expert's row is
another one. Experts are read straight into the slots. A tensor that a queued computation
still reads must not be written to, so whoever calls ``hold`` waits for that first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.checkpoint.row_reader import RowReader, Rows
from gptoss_mlx.checkpoint.safetensors import TensorInfo

__all__ = ["EXPERT_TENSORS", "ExpertSlots", "ExpertTensor", "Ints", "StreamingStats"]

EXPERT_TENSORS = (
    "gate_up_proj_blocks",
    "gate_up_proj_scales",
    "down_proj_blocks",
    "down_proj_scales",
)
"""What is streamed of an expert. Its biases take 0.1 % of it, and stay in memory."""

SCRATCH_BYTES = 32 << 20
"""The most memory for what is read apart, unless one expert takes more."""

Ints = npt.NDArray[np.int64]

_NONE: Ints = np.empty(0, np.int64)


@dataclass(slots=True)
class StreamingStats:
    """What streaming has cost, over all layers.

    Attributes:
        hits: Experts that a step needed and found in memory. A layer whose experts are all
            in memory is not asked, and not counted.
        misses: Experts that were read.
        bytes_read: Their bytes.
        stall_s: Seconds of waiting for them. During a prompt, the group before is computed
            meanwhile.
    """

    hits: int = 0
    misses: int = 0
    bytes_read: int = 0
    stall_s: float = 0.0

    @property
    def hit_rate(self) -> float:
        """The share of hits, from 0 to 1; 1 if nothing was needed."""
        needed = self.hits + self.misses
        return self.hits / needed if needed else 1.0

    def since(self, earlier: StreamingStats) -> StreamingStats:
        """Return what was added since a copy was made."""
        return StreamingStats(
            self.hits - earlier.hits,
            self.misses - earlier.misses,
            self.bytes_read - earlier.bytes_read,
            self.stall_s - earlier.stall_s,
        )

    def copy(self) -> StreamingStats:
        """Return a copy, which does not change any more."""
        return replace(self)


@dataclass(frozen=True, slots=True)
class ExpertTensor:
    """Where one tensor of a layer's experts is, and its form in memory.

    Attributes:
        shape: Of one expert.
        dtype: In memory.
        parts: The tensors of the files. Two of them, gate and up, take turns in memory.
    """

    shape: tuple[int, ...]
    dtype: mx.Dtype
    parts: tuple[TensorInfo, ...]

    @classmethod
    def of(cls, checkpoint: Checkpoint, name: str) -> ExpertTensor:
        """Find the tensor of a checkpoint that has ``name`` in the model."""
        view = checkpoint.parameters[name]
        return cls(
            view.shape[1:],
            mx.uint32 if view.dtype == "U32" else mx.uint8,
            tuple(checkpoint.files[part.name] for part in view.parts),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of one expert."""
        return int(np.prod(self.shape)) * self.dtype.size


class ExpertSlots:
    """The experts of one layer that are in memory.

    Attributes:
        count: How many experts there are room for.
        stats: What streaming has cost; shared by all layers.
    """

    def __init__(
        self,
        tensors: Mapping[str, ExpertTensor],
        reader: RowReader,
        stats: StreamingStats,
        *,
        num_experts: int,
        count: int,
    ) -> None:
        """Make empty slots. Their memory is taken with the first expert.

        Args:
            tensors: The tensors of ``EXPERT_TENSORS``.
            reader: Reads their files.
            stats: Counts what that costs.
            num_experts: How many experts the layer has.
            count: How many of them there is room for.
        """
        self.count = count
        self.stats = stats
        self._tensors = tensors
        self._reader = reader
        # -1: not in memory. The one record of what is where: a signal's exception between
        # any two lines leaves it true.
        self._slot_of = np.full(num_experts, -1, np.int64)
        self._used_at = np.zeros(count, np.int64)
        self._arrays: dict[str, mx.array] = {}
        self._memory: dict[str, npt.NDArray[np.uint8]] = {}  # the same, (count, bytes)

    @property
    def is_whole(self) -> bool:
        """Whether all experts are in memory, each in the slot of its own number."""
        return bool((self._slot_of >= 0).all())

    @property
    def nbytes(self) -> int:
        """Bytes of all slots, also before the first is filled."""
        return self.count * sum(tensor.nbytes for tensor in self._tensors.values())

    def array(self, name: str) -> mx.array:
        """Return the slots of one of ``EXPERT_TENSORS``: the model's tensor, cut short."""
        return self._arrays[name]

    def places(self, experts: Ints) -> Ints:
        """Return the slots of experts that are held. The shape stays."""
        return self._slot_of[experts]

    def has(self, experts: Ints) -> npt.NDArray[np.bool_]:
        """Return which experts are in memory."""
        return self._slot_of[experts] >= 0

    def hold(self, experts: Ints, used_at: Ints, keep: Ints = _NONE) -> None:
        """Read the experts that are not in memory, and keep all of these.

        Others go, least recently used first, if there is no empty slot. Unless all are in
        memory, nothing that is queued may still read their slots.

        Args:
            experts: The experts to compute with, each once.
            used_at: When each is used, in any unit that grows from step to step.
            keep: Experts that must stay too; with ``experts``, at most ``count``.

        Raises:
            CorruptFileError: A file has changed since the checkpoint was opened.
            StorageError: A file cannot be read.
        """
        missing = experts[~self.has(experts)]
        self.stats.hits += len(experts) - len(missing)
        if len(missing):
            self._fill(missing, np.concatenate([experts, keep]))
        self._used_at[self._slot_of[experts]] = used_at

    def _fill(self, missing: Ints, keep: Ints) -> None:
        begun = time.perf_counter()
        if not self._arrays:
            self._allocate()
        slots = self._room_for(missing, keep)
        # An expert whose slot is being written to is not in memory, also after an error.
        self._slot_of[np.isin(self._slot_of, slots)] = -1
        self._read(missing, slots)
        self._slot_of[missing] = slots
        self.stats.misses += len(missing)
        self.stats.stall_s += time.perf_counter() - begun

    def _room_for(self, missing: Ints, keep: Ints) -> Ints:
        """Choose a slot for each missing expert."""
        if self.count == len(self._slot_of):
            return missing
        kept = self._slot_of[keep]
        age = np.full(self.count, -1, np.int64)  # of empty slots
        taken = self._slot_of[self._slot_of >= 0]
        age[taken] = self._used_at[taken]
        age[kept[kept >= 0]] = np.iinfo(np.int64).max
        return np.argsort(age, kind="stable")[: len(missing)]

    def _allocate(self) -> None:
        arrays: dict[str, mx.array] = {}
        for name, tensor in self._tensors.items():
            arrays[name] = mx.zeros((self.count, *tensor.shape), tensor.dtype)
            mx.eval(arrays[name])
            memory = np.array(arrays[name], copy=False).view(np.uint8)
            self._memory[name] = memory.reshape(self.count, -1)
        self._arrays = arrays  # all or none

    def _read(self, experts: Ints, slots: Ints) -> None:
        wanted: list[Rows] = []
        halves: list[_Halves] = []
        scratch_bytes = 0
        for name, tensor in self._tensors.items():
            part_bytes = tensor.nbytes // len(tensor.parts)
            for expert, slot in zip(experts.tolist(), slots.tolist(), strict=True):
                into = [self._memory[name][slot]]
                if len(tensor.parts) > 1:
                    if halves and scratch_bytes + tensor.nbytes > SCRATCH_BYTES:
                        self._read_now(wanted, halves)
                        wanted, halves, scratch_bytes = [], [], 0
                    scratch_bytes += tensor.nbytes
                    rows = into[0].reshape(tensor.shape[0], -1)
                    into = [np.empty(part_bytes, np.uint8) for _ in tensor.parts]
                    halves.append(_Halves(rows, into))
                wanted += [
                    Rows(part, expert * part_bytes, memoryview(piece))
                    for part, piece in zip(tensor.parts, into, strict=True)
                ]
        self._read_now(wanted, halves)

    def _read_now(self, wanted: Sequence[Rows], halves: Sequence[_Halves]) -> None:
        self._reader.read(wanted)
        self.stats.bytes_read += sum(len(rows.into) for rows in wanted)
        for rows, parts in halves:
            for number, part in enumerate(parts):
                rows[number :: len(parts)] = part.reshape(-1, rows.shape[1])


class _Halves(NamedTuple):
    """Gate and up of an expert, which are read apart, and where they take turns.

    Attributes:
        rows: The expert's, in its slot.
        parts: What is read.
    """

    rows: npt.NDArray[np.uint8]
    parts: Sequence[npt.NDArray[np.uint8]]
