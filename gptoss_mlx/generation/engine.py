"""Reads a prompt in chunks, then writes token by token."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import mlx.core as mx
import numpy as np

from gptoss_mlx.errors import CacheError, ContextError
from gptoss_mlx.generation.prompt_cache import LanguageModel, PromptCache
from gptoss_mlx.generation.sampling import LogitsProcessor, Sampler
from gptoss_mlx.generation.stop_strings import StopStrings
from gptoss_mlx.model.cache import CHUNK_TOKENS
from gptoss_mlx.tokenizer import StreamDecoder, Tokenizer

__all__ = [
    "STOP_TOKENS",
    "FinishReason",
    "GeneratedToken",
    "LanguageModel",
    "Progress",
    "generate",
]

STOP_TOKENS = frozenset({200_002, 200_012, 199_999})
"""``<|return|>``, ``<|call|>``, ``<|endoftext|>``. ``<|end|>`` ends a message alone."""

FinishReason = Literal["stop", "length", "context"]
"""A stop token or text came, ``max_tokens`` are out, or the context is full."""

Progress = Callable[[int, int], None]
"""Called with the tokens read so far, and all there are to read."""


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """One token of an answer.

    Attributes:
        token: Its id.
        logprob: The natural logarithm of its probability as the model gives it, before
            processors, temperature and filters. None unless asked for.
        top_logprobs: The likeliest tokens with theirs, likeliest first.
        finish_reason: Why this is the last token; None where more follow.
    """

    token: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None


def generate(
    model: LanguageModel,
    prompt: Sequence[int],
    *,
    sampler: Sampler,
    stop_tokens: frozenset[int] = STOP_TOKENS,
    stop_strings: Sequence[str] = (),
    tokenizer: Tokenizer | None = None,
    max_tokens: int | None = None,
    context_tokens: int | None = None,
    processors: Sequence[LogitsProcessor] = (),
    logprobs: int | None = None,
    cache: PromptCache | None = None,
    chunk_tokens: int = CHUNK_TOKENS,
    progress: Progress | None = None,
) -> Generator[GeneratedToken]:
    """Continue ``prompt``, one token at a time.

    While the caller looks at a token, the next one is already being computed.

    Args:
        prompt: Token ids, at least one.
        sampler: Draws the next token; see ``make_sampler``.
        stop_tokens: The first of these is yielded, and ends it.
        stop_strings: So does the token that completes one of these. A special token
            between two pieces of text parts them.
        tokenizer: Needed for ``stop_strings``.
        max_tokens: The most tokens to yield. None: no bound.
        context_tokens: The most that prompt and answer together can have. None: no bound.
        processors: Change the logits, in turn; see ``make_logits_processors``.
        logprobs: Give the token's logprob, and those of this many likeliest tokens.
        cache: What was read before. It goes back to where the prompts part, and takes
            prompt and answer. It serves one answer at a time. None: a new one.
        chunk_tokens: How many tokens of the prompt are read at once.
        progress: Hears how far the reading of what is new is.

    Yields:
        The tokens. The last has a ``finish_reason``.

    Raises:
        ContextError: The prompt leaves no room for a token.
        ValueError: The prompt is empty, or a number is out of its range.
        CacheError: While it runs: ``cache`` has begun another prompt.
    """
    if not prompt:
        raise ValueError("[generate] prompt must have at least one token but is empty.")
    for name, number in (
        ("chunk_tokens", chunk_tokens),
        ("max_tokens", max_tokens),
        ("context_tokens", context_tokens),
    ):
        if number is not None and number < 1:
            raise ValueError(f"[generate] {name} must be 1 or more: {number}.")
    if logprobs is not None and logprobs < 0:
        raise ValueError(f"[generate] logprobs must be 0 or more: {logprobs}.")
    if stop_strings and tokenizer is None:
        raise ValueError("[generate] stop_strings must come with a tokenizer.")
    if context_tokens is not None and len(prompt) >= context_tokens:
        raise ContextError(
            f"A conversation must have under {context_tokens:,} tokens "
            f"but has {len(prompt):,}."
        )
    if cache is None:
        cache = PromptCache(model, max_checkpoints=0)
    ends = _Ends(stop_tokens, StopStrings(stop_strings), tokenizer)
    if context_tokens is not None:
        ends.limit, ends.reason = context_tokens - len(prompt), "context"
    if max_tokens is not None and (ends.limit is None or max_tokens <= ends.limit):
        ends.limit, ends.reason = max_tokens, "length"
    steps = _Steps(model, cache, sampler, processors, logprobs, mx.array(list(prompt)))
    return _generate(steps, list(prompt), ends, chunk_tokens, progress)


def _generate(
    steps: _Steps,
    prompt: list[int],
    ends: _Ends,
    chunk_tokens: int,
    progress: Progress | None,
) -> Generator[GeneratedToken]:
    cache = steps.cache
    rest = cache.begin(prompt)
    begun = cache.begun
    for start in range(0, len(rest), chunk_tokens):
        hidden = cache.read(rest[start : start + chunk_tokens])
        if progress is not None:
            progress(min(start + chunk_tokens, len(rest)), len(rest))
    drawn = steps.draw(hidden)
    count = 0
    while True:
        count += 1
        last = count == ends.limit
        following = drawn if last else steps.draw(cache.step(drawn.token))
        token = cast(int, drawn.token.item())
        if not last:
            cache.record(token)
        reason = ends.after(token) or (ends.reason if last else None)
        yield drawn.read(reason)
        if reason is not None:
            return
        if cache.begun != begun:
            raise CacheError(
                "A cache must serve one answer at a time, but another prompt has begun.",
                hint="Close the answer before, or give each its own cache.",
            )
        drawn = following


@dataclass(slots=True)
class _Ends:
    """Knows when an answer ends."""

    tokens: frozenset[int]
    strings: StopStrings
    tokenizer: Tokenizer | None
    limit: int | None = None
    reason: FinishReason | None = None
    decoder: StreamDecoder | None = None

    def after(self, token: int) -> FinishReason | None:
        """Tell whether ``token`` is the last."""
        if token in self.tokens:
            return "stop"
        if self.tokenizer is None:
            return None
        if self.tokenizer.is_special(token):
            self.decoder = None
            self.strings.flush()
            return None
        self.decoder = self.decoder or StreamDecoder(self.tokenizer)
        self.strings.push(self.decoder.push(token))
        return "stop" if self.strings.found is not None else None


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A token that is being computed, ``(1,)``, and its logprobs if asked for."""

    token: mx.array
    logprob: mx.array | None = None
    top: tuple[mx.array, mx.array] | None = None

    def read(self, reason: FinishReason | None) -> GeneratedToken:
        token = cast(int, self.token.item())
        if self.logprob is None:
            return GeneratedToken(token, finish_reason=reason)
        top: tuple[tuple[int, float], ...] = ()
        if self.top is not None:
            ids, logprobs = (np.asarray(array).tolist() for array in self.top)
            top = tuple(zip(ids, logprobs, strict=True))
        return GeneratedToken(token, cast(float, self.logprob.item()), top, reason)


@dataclass(slots=True)
class _Steps:
    """Draws tokens from hidden states, and queues the work."""

    model: LanguageModel
    cache: PromptCache
    sampler: Sampler
    processors: Sequence[LogitsProcessor]
    logprobs: int | None
    text: mx.array

    def draw(self, hidden: mx.array) -> _Drawn:
        logits = self.model.lm_head(hidden[:, -1:])[:, -1]  # (1, V)
        changed = logits
        for process in self.processors:
            changed = process(self.text, changed)
        token = self.sampler(changed)
        if self.processors:
            self.text = mx.concatenate([self.text, token.astype(self.text.dtype)])
        drawn = self._with_logprobs(token, logits)
        arrays = [drawn.token, *(drawn.top or ())]
        arrays += [drawn.logprob] if drawn.logprob is not None else []
        mx.async_eval(*arrays)  # type: ignore[no-untyped-call]
        return drawn

    def _with_logprobs(self, token: mx.array, logits: mx.array) -> _Drawn:
        if self.logprobs is None:
            return _Drawn(token)
        row = logits[0].astype(mx.float32)
        row = row - mx.logsumexp(row)
        top = None
        if self.logprobs:
            ids = mx.argsort(-row)[: self.logprobs]
            top = ids, row[ids]
        return _Drawn(token, row[token], top)
