"""How quickly a model reads and writes here, and what memory that takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.config import ModelConfig
from gptoss_mlx.device import this_machine
from gptoss_mlx.doctor.bandwidth import bandwidth_of, bytes_per_token
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.request import Request
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import Stops
from gptoss_mlx.model.footprint import footprint_of
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.memory import chunk_tokens
from gptoss_mlx.model.transformer import Model

__all__ = ["DecodeSpeed", "Plan", "PrefillSpeed", "Speed", "measure_speed"]

# Ordinary tokens of the vocabulary: what is above is special.
ORDINARY_TOKENS = 199_998


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured.

    Attributes:
        chunks: Sizes of chunks that the prompt is read in, in tokens.
        prompt_tokens: Of that prompt.
        contexts: What is read before tokens are written, shortest first.
        written_tokens: How many are written at each.
        limit_s: When nothing more is begun that would take longer, in seconds.
    """

    chunks: Sequence[int] = (512, 1_024, 2_048)
    prompt_tokens: int = 2_048
    contexts: Sequence[int] = (100, 8_192)
    written_tokens: int = 64
    limit_s: float = 120.0


@dataclass(frozen=True, slots=True)
class PrefillSpeed:
    """How quickly a prompt is read.

    Attributes:
        chunk_tokens: How many tokens go through the model at once.
        tokens: Of the prompt.
        tokens_per_s: Tokens read a second.
    """

    chunk_tokens: int
    tokens: int
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class DecodeSpeed:
    """How quickly tokens are written.

    Attributes:
        context_tokens: What was read before the first.
        tokens: How many were written.
        tokens_per_s: Tokens written a second.
        token_bytes: What is read from memory for one.
        floor_share: How near that is to the chip's bandwidth: 1 is all of it. None where
            the bandwidth is not known.
    """

    context_tokens: int
    tokens: int
    tokens_per_s: float
    token_bytes: int
    floor_share: float | None


@dataclass(frozen=True, slots=True)
class Speed:
    """What a model does on this machine.

    Attributes:
        model: Its folder's name.
        load_s: How long it took to load, in seconds.
        active_bytes: In use once it was loaded.
        peak_bytes: The most in use at once.
        cache_bytes: Freed, and kept by MLX, at the end.
        predicted_bytes: What ``footprint_of`` says for the longest context measured.
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
    """Load a model, let it read and write random tokens, and take the time.

    Args:
        checkpoint: Of the model.
        stage: Hears what is measured next.
        plan: What is measured. What the model cannot hold, or would not be read in time,
            is cut or left out.

    Raises:
        GptOssError: As ``load_model``.
    """
    stage("loading the model")
    mx.clear_cache()
    mx.reset_peak_memory()
    begun = time.perf_counter()
    run = _Run(load_model(checkpoint), checkpoint.config, begun + plan.limit_s)
    load_s = time.perf_counter() - begun
    active_bytes = mx.get_active_memory()
    stage("warming up")
    run.time(32, 4, run.chunk_tokens)
    shortest = min(plan.contexts[0], run.most_tokens)
    stage(f"writing after {shortest:,} tokens")
    decode = [run.decode(shortest, plan.written_tokens)[1]]
    prefill = []
    for chunk in plan.chunks:
        tokens = run.in_time(plan.prompt_tokens, share=1 / (len(plan.chunks) + 1))
        if tokens >= chunk:
            stage(f"reading {tokens:,} tokens by {chunk:,}")
            prefill.append(run.prefill(tokens, chunk))
    for context in plan.contexts[1:]:
        tokens = run.in_time(context, share=1 / 2)
        if tokens > decode[-1].context_tokens:
            stage(f"writing after {tokens:,} tokens")
            read, written = run.decode(tokens, plan.written_tokens)
            prefill.append(read)
            decode.append(written)
    return Speed(
        model=checkpoint.folder.name,
        load_s=load_s,
        prefill=tuple(prefill),
        decode=tuple(decode),
        active_bytes=active_bytes,
        peak_bytes=mx.get_peak_memory(),
        cache_bytes=mx.get_cache_memory(),
        predicted_bytes=footprint_of(
            checkpoint.config,
            lambda module, columns: checkpoint.quantization_of(module),
            this_machine(),
            context_tokens=max(run.read_tokens),
        ).total_bytes,
    )


class _Run:
    """A loaded model, and the time there is for it."""

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
        """Cut a number of tokens to what a share of the time left is enough for."""
        left_s = max(self._until - time.perf_counter(), 0)
        readable = int(self._rate * left_s * share)
        return min(tokens, self.most_tokens, readable)

    def prefill(self, tokens: int, chunk_tokens: int) -> PrefillSpeed:
        """Read a prompt."""
        read_s, _ = self.time(tokens, 1, chunk_tokens)
        return PrefillSpeed(chunk_tokens, tokens, tokens / read_s)

    def decode(self, context: int, written: int) -> tuple[PrefillSpeed, DecodeSpeed]:
        """Read a prompt, and write."""
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
