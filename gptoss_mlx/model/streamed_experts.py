"""Experts of a layer of which only some are in memory; the others are read when needed.

A step that needs no more experts than there are slots computes with the kernels of the
resident layer, and has its bits. A step that needs more is cut into groups of experts. Each
token's outputs are then added up in the order of the groups instead of its own, which can
change the last bit of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.model.expert_slots import ExpertSlots, Ints
from gptoss_mlx.model.experts import SORT_FROM_ROWS, Experts

__all__ = ["Routed", "StreamedExperts"]


class Routed(NamedTuple):
    """Tokens and their experts, as ``Experts`` takes them.

    Attributes:
        x: Shape ``(N, hidden_size)``.
        indices: Shape ``(N, K)``.
        weights: Shape ``(N, K)``.
    """

    x: mx.array
    indices: mx.array
    weights: mx.array


class StreamedExperts(Experts):
    """``Experts`` in slots. Biases are parameters; blocks and scales are in the slots."""

    def __init__(self, config: ModelConfig, slots: ExpertSlots) -> None:
        """Make room for the biases.

        Args:
            config: The model's.
            slots: Where the experts are.
        """
        nn.Module.__init__(self)
        E = config.num_local_experts
        self.alpha, self.limit = config.swiglu_alpha, config.swiglu_limit
        self.gate_up_proj_bias = mx.zeros((E, 2 * config.intermediate_size))
        self.down_proj_bias = mx.zeros((E, config.hidden_size))
        self.slots = slots
        self._clock = 0
        self._running: tuple[mx.array, ...] = ()  # may still read the slots

    def __call__(self, x: mx.array, indices: mx.array, weights: mx.array) -> mx.array:
        """Send each token to its experts, and add up their outputs.

        Args:
            x: Shape ``(N, hidden_size)``.
            indices: Experts of each token. Shape ``(N, K)``.
            weights: Weight of each expert's output. Shape ``(N, K)``.

        Returns:
            Shape ``(N, hidden_size)``.

        Raises:
            CorruptFileError: A file has changed since the checkpoint was opened.
            StorageError: A file cannot be read.
        """
        if self.slots.is_whole:  # no wait for the indices
            return super().__call__(x, indices, weights)
        return self.mix([Routed(x, indices, weights)])[0]

    def mix(self, chunks: Sequence[Routed]) -> list[mx.array]:
        """Do the same for several chunks, and read each missing expert once for all.

        Returns:
            One of shape ``(N, hidden_size)`` for each chunk.

        Raises:
            CorruptFileError: A file has changed since the checkpoint was opened.
            StorageError: A file cannot be read.
        """
        # The one wait of a layer: the computation up to its router ends here.
        numbers = [np.array(chunk.indices).astype(np.int64) for chunk in chunks]
        experts, used_at = self._in_order_of_use(numbers)
        self._wait()
        if len(experts) <= self.slots.count:
            self.slots.hold(experts, used_at)
            outs = [
                self._mix(*chunk, mx.array(self.slots.places(found).astype(np.uint32)))
                for chunk, found in zip(chunks, numbers, strict=True)
            ]
        else:
            outs = self._by_groups(chunks, numbers, experts, used_at)
        # A result that nobody has evaluated yet would read the slots too late. Once it
        # runs, any thread can wait for it.
        mx.async_eval(outs)
        if sum(found.size for found in numbers) < SORT_FROM_ROWS:
            self._running = tuple(outs)
        else:
            mx.eval(outs)  # not kept until the next step: they are large
        return outs

    def _wait(self) -> None:
        """Wait for what reads the slots. In decoding it has ended before."""
        try:
            mx.eval(self._running)
        except RuntimeError:  # the device's, of an earlier step
            self._running = ()
            raise
        self._running = ()

    def _in_order_of_use(self, numbers: Sequence[Ints]) -> tuple[Ints, Ints]:
        """Return the step's experts, those that are used last at the end, and when."""
        last = np.full(len(self.down_proj_bias), -1, np.int64)
        flat = np.concatenate([found.ravel() for found in numbers])
        last[flat] = np.arange(len(flat))  # of equal numbers, the last one stays
        experts = np.flatnonzero(last >= 0)
        experts = experts[np.argsort(last[experts])]
        used_at = self._clock + np.arange(1, len(experts) + 1)
        self._clock += len(experts)
        return experts, used_at

    def _by_groups(
        self,
        chunks: Sequence[Routed],
        numbers: Sequence[Ints],
        experts: Ints,
        used_at: Ints,
    ) -> list[mx.array]:
        """Compute with the experts in memory, then with the others, a group at a time.

        A group is read while the one before it is computed, so that two of them have room.
        """
        is_held = self.slots.has(experts)
        ordered = [np.flatnonzero(is_held), np.flatnonzero(~is_held)]
        size = max(self.slots.count // 2, 1)
        groups = [half[i : i + size] for half in ordered for i in range(0, len(half), size)]
        outs = [mx.zeros(chunk.x.shape, mx.float32) for chunk in chunks]
        before = np.empty(0, np.int64)
        done: list[mx.array] = []  # one for each group that is queued
        for group in groups:
            # The slots of all groups but the last one are free again.
            mx.eval(done[:-1])
            if self.slots.count == 1:  # there is no room for two
                mx.eval(done)
                before = before[:0]
            done = done[-1:]
            self.slots.hold(experts[group], used_at[group], keep=before)
            before = experts[group]
            for i, (chunk, found) in enumerate(zip(chunks, numbers, strict=True)):
                part = self._part(chunk, found, before)
                if part is not None:
                    outs[i] = outs[i] + part
            # Waiting for the sums themselves would hold a second copy of them.
            done.append(mx.stack([out[0, 0] for out in outs]))
            mx.async_eval(outs, done[-1])
        return [out.astype(chunk.x.dtype) for out, chunk in zip(outs, chunks, strict=True)]

    def _part(self, chunk: Routed, numbers: Ints, group: Ints) -> mx.array | None:
        """Add up the outputs of a group's experts; None if no token goes to them."""
        N, K = numbers.shape
        flat = numbers.ravel()
        pairs = np.flatnonzero(np.isin(flat, group))  # of a token and an expert
        if not len(pairs):
            return None
        places = self.slots.places(flat[pairs])
        order = np.argsort(places, kind="stable")
        pairs, places = pairs[order], places[order]
        # Where each pair's output is; the pairs of other groups have a row of zeros.
        row_of = np.full(N * K, len(pairs), np.int32)
        row_of[pairs] = np.arange(len(pairs))
        index = mx.array(pairs.astype(np.uint32))
        place = mx.array(places.astype(np.uint32))
        expert = mx.array(flat[pairs].astype(np.uint32))
        rows = chunk.x[index // K][:, None]  # (P, 1, hidden_size)
        gate_up = self._product(rows, "gate_up_proj", place)
        inner = self._activate(gate_up, self.gate_up_proj_bias[expert])
        out = self._product(inner, "down_proj", place).squeeze(1)
        weights = chunk.weights.flatten()[index][:, None]
        out = self._weighed(out, expert, weights)
        out = mx.concatenate([out, mx.zeros((1, out.shape[1]), out.dtype)])
        return out[mx.array(row_of)].reshape(N, K, -1).sum(axis=1)

    def _tensor(self, name: str) -> mx.array:
        return self.slots.array(name)
