"""Decides how a model runs on a machine: whole, with streamed experts, or not at all.

Pure arithmetic. ``gptoss-mlx fit`` shows it for every recipe, and loading obeys it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gptoss_mlx.config import ModelConfig
from gptoss_mlx.device import Machine
from gptoss_mlx.errors import NotEnoughMemoryError
from gptoss_mlx.model import memory
from gptoss_mlx.model.footprint import (
    Footprint,
    QuantizationOf,
    cache_bytes,
    footprint_of,
)
from gptoss_mlx.model.memory import Settings, settings_for
from gptoss_mlx.model.residency import slot_bytes, streamed_bytes, streaming_settings

__all__ = [
    "CONTEXT_TOKENS",
    "LEAST_CONTEXT_TOKENS",
    "WHOLE_CONTEXT_TOKENS",
    "Plan",
    "Verdict",
    "best_place",
    "plan_in_budget",
    "plan_of",
    "plan_to_run",
    "resident_fraction",
]

CONTEXT_TOKENS = 8_192
"""The conversation that is to fit beside a model."""

WHOLE_CONTEXT_TOKENS = 4_096
"""The conversation with which a model is loaded whole rather than streamed with more."""

LEAST_CONTEXT_TOKENS = 2_048
"""The shortest conversation with which a model is still loaded."""

Verdict = Literal["fits", "raise", "stream", "no"]
"""Whether it fits; fits after the wired limit is raised; streams; or does not fit."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model runs on a machine.

    Attributes:
        config: The model's shape.
        machine: The machine to run on.
        footprint: The memory with all experts resident: with the settings that fit it, or
            that fit it if the limit is raised; otherwise with the machine's own.
        slots: How many experts of each layer are resident; all of them if it fits, and 0 if
            too few have room for one token.
        raised_mb: The ``iogpu.wired_limit_mb`` with which it fits; None if it fits now, or
            if too little would be left to macOS.
    """

    config: ModelConfig
    machine: Machine
    footprint: Footprint
    slots: int
    raised_mb: int | None

    @property
    def fits(self) -> bool:
        """Whether all of it fits within the limit."""
        return self.footprint.fits

    @property
    def streams(self) -> bool:
        """Whether some experts are read from the disk."""
        return not self.fits or self.slots < self.config.num_local_experts

    @property
    def verdict(self) -> Verdict:
        """The best way to run it."""
        if self.fits:
            return "fits"
        if self.raised_mb is not None:
            return "raise"
        return "stream" if self.slots else "no"

    @property
    def resident_fraction(self) -> float:
        """The share of the experts that is resident, 0 to 1."""
        return self.slots / self.config.num_local_experts

    @property
    def resident_bytes(self) -> int:
        """Bytes of the experts that are resident."""
        return self.slots * slot_bytes(self.config)

    def needed_bytes(self, context_tokens: int) -> int:
        """Return the memory for a context, with as little for computing as there can be.

        If experts are streamed, the embedding is not in memory: its rows are read. It is if
        there is a slot for each expert.
        """
        if not self.streams:
            return self._whole_bytes(context_tokens)
        config, weights = self.config, self.footprint.weights
        rest = streamed_bytes(config, self.machine, weights, context_tokens)
        if self.slots == config.num_local_experts:
            rest += weights.embedding_bytes
        return rest + self.resident_bytes

    @property
    def least_bytes(self) -> int:
        """The least memory that its context takes: whole, or with one token's experts."""
        context_tokens, weights = self.footprint.context_tokens, self.footprint.weights
        streamed = streamed_bytes(self.config, self.machine, weights, context_tokens)
        streamed += self.config.num_experts_per_tok * slot_bytes(self.config)
        return min(streamed, self._whole_bytes(context_tokens))

    def _whole_bytes(self, context_tokens: int) -> int:
        config, machine = self.config, self.machine
        *_, least = settings_for(machine)
        return (
            self.footprint.weights_bytes
            + cache_bytes(config, context_tokens, machine.value_bytes)
            + memory.working_bytes(config, machine, least, context_tokens=context_tokens)
        )

    @property
    def longest_context_tokens(self) -> int:
        """The longest context that fits beside the resident experts; 0 if none does."""
        if not self.streams:
            return self.footprint.longest_context_tokens
        if not self.slots:
            return 0
        tokens = range(1, self.config.max_position_embeddings + 1)
        return bisect_right(tokens, self.machine.limit_bytes, key=self.needed_bytes)

    def settings_at(self, context_tokens: int) -> Settings:
        """Return the settings to compute a context of so many tokens with.

        If experts are streamed, MLX keeps less freed memory. Otherwise these are the
        largest with which the context fits; the smallest if it fits with none.
        """
        usual, *smaller = settings_for(self.machine)
        if self.streams:
            return streaming_settings(self.machine)
        left = self.machine.limit_bytes - self.footprint.weights_bytes
        left -= cache_bytes(self.config, context_tokens, self.machine.value_bytes)
        for settings in (usual, *smaller):
            needed = memory.working_bytes(
                self.config, self.machine, settings, context_tokens=context_tokens
            )
            if needed <= left:
                break
        return settings

    def chunk_tokens(self, offset: int) -> int:
        """Return how many tokens of a prompt to prefill at once.

        Args:
            offset: Tokens in the cache.
        """
        most = self.settings_at(offset).chunk_tokens
        return memory.chunk_tokens(self.machine, offset, most=most)

    def line(self, name: str) -> str | None:
        """Say how the model runs; None for one that is small beside the limit.

        Args:
            name: The model's.
        """
        footprint, longest = self.footprint, self.longest_context_tokens
        if not self.streams and 2 * footprint.weights_bytes <= self.machine.limit_bytes:
            return None
        taken = self.needed_bytes(1) if self.streams else footprint.weights_bytes
        experts = ""
        if self.streams:
            experts = f" with {self.slots} of {self.config.num_local_experts} experts"
        limit = f"{self.machine.limit_bytes / 1e9:.1f} GB"
        raised = ""
        if self.streams and self.raised_mb is not None:
            raised = f" All fit after: sudo sysctl iogpu.wired_limit_mb={self.raised_mb}"
        return (
            f"{name}: {taken / 1e9:.1f} of {limit}{experts}, {self.chunk_tokens(0):,} "
            f"tokens of a prompt at once, conversations of up to {longest:,} tokens."
            f"{raised}"
        )


def plan_of(
    config: ModelConfig,
    quantization_of: QuantizationOf,
    machine: Machine,
    *,
    context_tokens: int = CONTEXT_TOKENS,
    budget_bytes: int | None = None,
) -> Plan:
    """Plan how a model runs on a machine.

    Args:
        config: The model's shape.
        quantization_of: The recipe's function.
        machine: The machine to run on.
        context_tokens: Tokens of prompt and answer that must fit.
        budget_bytes: How much memory to use. None: the machine's limit.
    """
    if budget_bytes is not None:
        machine = replace(machine, limit_bytes=budget_bytes)
    context_tokens = min(context_tokens, config.max_position_embeddings)
    footprint = footprint_of(
        config, quantization_of, machine, context_tokens=context_tokens
    )
    if footprint.fits:
        return Plan(config, machine, footprint, config.num_local_experts, None)
    raised = None
    for settings in settings_for(machine) if budget_bytes is None else ():
        smaller = footprint_of(
            config,
            quantization_of,
            machine,
            context_tokens=context_tokens,
            settings=settings,
        )
        raised = memory.raised_limit_mb(machine, smaller.total_bytes)
        if raised is not None:
            footprint = smaller
            break
    rest = streamed_bytes(config, machine, footprint.weights, context_tokens)
    slots = (machine.limit_bytes - rest) // slot_bytes(config)
    if slots < config.num_experts_per_tok:
        slots = 0
    return Plan(
        config, machine, footprint, min(slots, config.num_local_experts - 1), raised
    )


def plan_to_run(
    config: ModelConfig, quantization_of: QuantizationOf, machine: Machine, *, name: str
) -> Plan:
    """Plan how a model runs on this machine now, or refuse it.

    Args:
        config: The model's shape.
        quantization_of: The recipe's function.
        machine: The machine.
        name: The model's, for the error.

    Returns:
        The whole model if it fits with ``WHOLE_CONTEXT_TOKENS``. Otherwise some of its
        experts, with the longest of three contexts that leaves room for a token's.

    Raises:
        NotEnoughMemoryError: It does not fit in any way.
    """
    plan = _best_plan(config, quantization_of, machine)
    if plan.slots:
        return plan
    least = _gigabytes(plan.least_bytes)
    raise NotEnoughMemoryError(
        f"{name} needs {least} GB with {LEAST_CONTEXT_TOKENS:,} tokens of conversation and "
        f"most experts on the disk, and a program may use {machine.limit_bytes / 1e9:.1f} "
        "GB here.",
        hint=f"See what fits: gptoss-mlx fit. To load it anyway: --memory-budget {least}GB",
    )


def plan_in_budget(
    config: ModelConfig,
    quantization_of: QuantizationOf,
    machine: Machine,
    budget_bytes: int,
) -> Plan:
    """Plan how a model runs with so much memory, or refuse it.

    Args:
        config: The model's shape.
        quantization_of: The recipe's function.
        machine: The machine. Its own limit plays no part.
        budget_bytes: The most memory of the whole program.

    Returns:
        As of ``plan_to_run``.

    Raises:
        NotEnoughMemoryError: Not even a token's experts fit.
    """
    plan = _best_plan(config, quantization_of, machine, budget_bytes)
    if plan.slots:
        return plan
    least = _gigabytes(plan.least_bytes)
    raise NotEnoughMemoryError(
        f"The memory budget for this model must be at least {least}GB but is "
        f"{budget_bytes / 1e9:.1f}GB.",
        hint=f"Give it more: --memory-budget {least}GB, or take a smaller model.",
    )


def _best_plan(
    config: ModelConfig,
    quantization_of: QuantizationOf,
    machine: Machine,
    budget_bytes: int | None = None,
) -> Plan:
    """Return the best plan of three contexts; the last, without slots, if none has room."""

    def plan(context_tokens: int) -> Plan:
        return plan_of(
            config,
            quantization_of,
            machine,
            context_tokens=context_tokens,
            budget_bytes=budget_bytes,
        )

    usual = plan(CONTEXT_TOKENS)
    if usual.fits:
        return usual
    whole = plan(WHOLE_CONTEXT_TOKENS)
    if whole.fits:
        return whole
    for streamed in (usual, whole):
        if streamed.slots:
            return streamed
    return plan(LEAST_CONTEXT_TOKENS)


def best_place(plans: Sequence[Plan]) -> int | None:
    """Return which model to run: the first that fits, or else the last that streams.

    Args:
        plans: Of each model, the best one first and the smallest last.

    Returns:
        Its place; None if none runs.
    """
    fitting = [place for place, plan in enumerate(plans) if plan.fits]
    running = [place for place, plan in enumerate(plans) if plan.slots]
    return next(iter(fitting + running[::-1]), None)


def _gigabytes(nbytes: int) -> str:
    return f"{-(-nbytes // 10**8) / 10:.1f}"  # rounded up


def resident_fraction(*, total_bytes: int, experts_bytes: int, limit_bytes: int) -> float:
    """Return the share of the experts with which a total is within a limit, 0 to 1."""
    left = limit_bytes - (total_bytes - experts_bytes)
    return min(max(left / experts_bytes, 0.0), 1.0)
