"""Reads a prompt in chunks, then writes token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

import mlx.core as mx

from gptoss_mlx.generation.sampling import Sampler

__all__ = ["LanguageModel", "Progress", "generate"]

Progress = Callable[[int, int], None]
"""Called with the tokens read so far, and all there are to read."""


class LanguageModel(Protocol):
    """What ``generate`` needs of a model; ``gptoss_mlx.model.Model`` has it."""

    @property
    def model(self) -> Callable[[mx.array, Any], mx.array]:
        """Tokens ``(B, L)`` and a cache to hidden states ``(B, L, hidden_size)``."""

    @property
    def lm_head(self) -> Callable[[mx.array], mx.array]:
        """Hidden states to logits ``(B, L, V)``."""

    def make_cache(self) -> list[Any]:
        """Make an empty cache, one entry a layer."""


def generate(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    sampler: Sampler,
    stop_tokens: frozenset[int],
    max_tokens: int | None = None,
    chunk_tokens: int = 512,
    progress: Progress | None = None,
) -> Iterator[int]:
    """Continue ``prompt``, one token at a time.

    While the caller looks at a token, the next one is already being computed.

    Args:
        prompt: Token ids, at least one.
        sampler: Draws the next token; see ``make_sampler``.
        stop_tokens: The first of these is yielded, and ends it.
        max_tokens: The most tokens to yield. None: no bound.
        chunk_tokens: How many tokens of the prompt are read at once.
        progress: Hears how far the reading of the prompt is.

    Yields:
        Token ids.

    Raises:
        ValueError: The prompt is empty, or a number is below 1.
    """
    if not prompt:
        raise ValueError("[generate] prompt must have at least one token but is empty.")
    if chunk_tokens < 1:
        raise ValueError(f"[generate] chunk_tokens must be 1 or more: {chunk_tokens}.")
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"[generate] max_tokens must be 1 or more: {max_tokens}.")
    return _generate(
        model, prompt, sampler, stop_tokens, max_tokens, chunk_tokens, progress
    )


def _generate(
    model: LanguageModel,
    prompt: Sequence[int],
    sampler: Sampler,
    stop_tokens: frozenset[int],
    max_tokens: int | None,
    chunk_tokens: int,
    progress: Progress | None,
) -> Iterator[int]:
    cache = model.make_cache()
    tokens = mx.array(list(prompt))[None]  # (1, L)
    hidden = mx.array(0)
    for start in range(0, len(prompt), chunk_tokens):
        hidden = model.model(tokens[:, start : start + chunk_tokens], cache)
        mx.eval(hidden)
        if progress is not None:
            progress(min(start + chunk_tokens, len(prompt)), len(prompt))

    def draw(hidden: mx.array) -> mx.array:
        drawn = sampler(model.lm_head(hidden[:, -1:])[:, -1])  # (1,)
        mx.async_eval(drawn)  # type: ignore[no-untyped-call]
        return drawn

    drawn = draw(hidden)
    count = 0
    while True:
        count += 1
        last = count == max_tokens
        following = drawn if last else draw(model.model(drawn[:, None], cache))
        token = cast(int, drawn.item())
        yield token
        if last or token in stop_tokens:
            return
        drawn = following
