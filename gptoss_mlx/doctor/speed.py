"""Measures the speed of prefill and decode, and the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.config import ModelConfig
from gptoss_mlx.device import this_machine
from gptoss_mlx.doctor.bandwidth import bytes_per_token
from gptoss_mlx.fit.bandwidth import bandwidth_of
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.request import Request
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import Stops
from gptoss_mlx.model.footprint import footprint_of
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.memory import chunk_tokens
from gptoss_mlx.model.transformer import Model

__all__ = ["DecodeSpeed", "Plan", "PrefillSpeed", "Speed", "measure_speed"]

# Ordinary tokens of the vocabulary: higher ids are special.
ORDINARY_TOKENS = 199_998


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of the measurement.

    Attributes:
        chunks: Chunk sizes for the prefill, in tokens.
        prompt_tokens: Length of its prompt.
        contexts: Context lengths before decoding, shortest first.
        written_tokens: How many tokens to decode at each.
        limit_s: Seconds after which no longer measurement is begun.
    """

    chunks: Sequence[int] = (512, 1_024, 2_048)
    prompt_tokens: int = 2_048
    contexts: Sequence[int] = (100, 8_192)
    written_tokens: int = 64
    limit_s: float = 120.0


@dataclass(frozen=True, slots=True)
class PrefillSpeed:
    """The speed of a prefill.

    Attributes:
        chunk_tokens: Tokens computed at once.
        tokens: Tokens of the prompt.
        tokens_per_s: Tokens per second.
    """

    chunk_tokens: int
    tokens: int
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class DecodeSpeed:
    """The speed of decoding.

    Attributes:
        context_tokens: Tokens in the cache before the first.
        tokens: Decoded tokens.
        tokens_per_s: Tokens per second.
        token_bytes: Bytes read from memory per token.
        floor_share: The share of the chip's memory bandwidth that is used. None if the
            bandwidth is unknown.
    """

    context_tokens: int
    tokens: int
    tokens_per_s: float
    token_bytes: int
    floor_share: float | None


@dataclass(frozen=True, slots=True)
class Speed:
    """The results for a model on this machine.

    Attributes:
        model: Its folder's name.
        load_s: Seconds to load it.
        active_bytes: Memory in use after loading.
        peak_bytes: The most memory in use at once.
        cache_bytes: Freed memory that MLX keeps, at the end.
        predicted_bytes: The estimate of ``footprint_of`` for the longest context.
    """

    model: str
    load_s: float
    prefill: tuple[PrefillSpeed, ...]
    decode: tuple[DecodeSpeed, ...]
    active_bytes: int
    peak_bytes: int
    cache_bytes: int
    predicted_bytes: int


def measure_speed(
    checkpoint: Checkpoint, stage: Callable[[str], None], plan: Plan = Plan()
) -> Speed:
    """Load a model, and time its prefill and decode with random tokens.

    Args:
        checkpoint: The model's checkpoint.
        stage: Called with the name of the next measurement.
        plan: The settings. Measurements that the model cannot hold, or that would take too
            long, are shortened or left out.

    Raises:
        GptOssError: As in ``load_model``.
    """
    stage("loading the model")
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()  # of other models in this process
    begun = time.perf_counter()
    run = _Run(load_model(checkpoint), checkpoint.config, begun + plan.limit_s)
    load_s = time.perf_counter() - begun
    active_bytes = mx.get_active_memory() - before
    stage("warming up")
    run.time(32, 4, run.chunk_tokens)
    shortest = min(plan.contexts[0], run.most_tokens)
    stage(f"decoding after {shortest:,} tokens")
    decode = [run.decode(shortest, plan.written_tokens)[1]]
    prefill = []
    for chunk in plan.chunks:
        tokens = run.in_time(plan.prompt_tokens, share=1 / (len(plan.chunks) + 1))
        if tokens >= chunk:
            stage(f"prefilling {tokens:,} tokens in chunks of {chunk:,}")
            prefill.append(run.prefill(tokens, chunk))
    for context in plan.contexts[1:]:
        tokens = run.in_time(context, share=1 / 2)
        if tokens > decode[-1].context_tokens:
            stage(f"decoding after {tokens:,} tokens")
            read, written = run.decode(tokens, plan.written_tokens)
            prefill.append(read)
            decode.append(written)
    return Speed(
        model=checkpoint.folder.name,
        load_s=load_s,
        prefill=tuple(prefill),
        decode=tuple(decode),
        active_bytes=active_bytes,
        peak_bytes=mx.get_peak_memory() - before,
        cache_bytes=mx.get_cache_memory(),
        predicted_bytes=footprint_of(
            checkpoint.config,
            lambda module, columns: checkpoint.quantization_of(module),
            this_machine(),
            context_tokens=max(run.read_tokens),
        ).total_bytes,
    )


class _Run:
    """A loaded model, and the end of its time."""

    def __init__(self, model: Model, config: ModelConfig, until: float) -> None:
        self.read_tokens: list[int] = []
        self.chunk_tokens = chunk_tokens(this_machine())
        self.most_tokens = config.max_position_embeddings // 2
        self._model = model
        self._config = config
        self._until = until
        self._rate = 0.0
        self._random = np.random.default_rng(0)

    def in_time(self, tokens: int, share: float) -> int:
        """Cut a number of tokens to what fits into a share of the time left."""
        left_s = max(self._until - time.perf_counter(), 0)
        readable = int(self._rate * left_s * share)
        return min(tokens, self.most_tokens, readable)

    def prefill(self, tokens: int, chunk_tokens: int) -> PrefillSpeed:
        """Time a prefill."""
        read_s, _ = self.time(tokens, 1, chunk_tokens)
        return PrefillSpeed(chunk_tokens, tokens, tokens / read_s)

    def decode(self, context: int, written: int) -> tuple[PrefillSpeed, DecodeSpeed]:
        """Time a prefill and the decoding after it."""
        read_s, write_s = self.time(context, written, self.chunk_tokens)
        machine = this_machine()
        tokens_per_s = (written - 1) / write_s
        token_bytes = bytes_per_token(
            self._model, self._config, context, machine.value_bytes
        )
        bandwidth = bandwidth_of(machine.device)
        share = tokens_per_s * token_bytes / bandwidth if bandwidth else None
        return (
            PrefillSpeed(self.chunk_tokens, context, context / read_s),
            DecodeSpeed(context, written, tokens_per_s, token_bytes, share),
        )

    def time(self, context: int, written: int, chunk_tokens: int) -> tuple[float, float]:
        """Return the seconds until the first token, and from there to the last."""
        bound = min(self._config.vocab_size, ORDINARY_TOKENS)
        request = Request(
            self._random.integers(0, bound, context).tolist(),
            sampling=Sampling(temperature=0),
            stops=Stops(tokens=frozenset(), max_tokens=written),
        )
        begun = time.perf_counter()
        generation = generate(self._model, request, chunk_tokens=chunk_tokens)
        next(generation)
        first = time.perf_counter()
        for _ in generation:
            pass
        self._rate = context / (first - begun)
        self.read_tokens.append(context)
        return first - begun, time.perf_counter() - first
