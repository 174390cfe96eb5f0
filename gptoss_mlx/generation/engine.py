"""Prefills a prompt in chunks, then decodes token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Self, cast

import mlx.core as mx
import numpy as np

from gptoss_mlx.device import this_machine
from gptoss_mlx.device_errors import device_errors
from gptoss_mlx.errors import ContextError, DeviceError, NotFiniteError
from gptoss_mlx.generation.language_model import LanguageModel
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.request import GeneratedToken, Generation, Progress, Request
from gptoss_mlx.generation.stops import FinishReason, StopDetector
from gptoss_mlx.generation.wired import wired
from gptoss_mlx.model import memory
from gptoss_mlx.model.residency import CARRIED_TOKENS

__all__ = ["generate"]


def generate(
    model: LanguageModel,
    request: Request,
    *,
    cache: PromptCache | None = None,
    context_tokens: int | None = None,
    chunk_tokens: int | Callable[[int], int] | None = None,
    wired_bytes: int = 0,
    between: Callable[[], None] = lambda: None,
) -> Generation:
    """Continue a prompt in this thread, one token at a time.

    The next token is already being computed while the caller handles one, unless the
    request has a grammar, or the model reads experts from files.

    Args:
        model: The model that computes logits.
        request: The prompt, and how to continue it.
        cache: The cache of earlier tokens. It is trimmed to the common prefix, and keeps
            prompt and answer. If another request uses it before this one has ended, this
            one prefills its own text again when it continues. None: a new cache.
        context_tokens: The most tokens of prompt and answer together. None: no limit.
        chunk_tokens: How many tokens of the prompt to compute at once, or a function that
            tells by how many are cached. None: the machine's setting.
        wired_bytes: How much memory to wire meanwhile.
        between: Called after each token and each chunk of the prompt; by a layerwise
            model after each layer of a prompt.

    Returns:
        The tokens. Nothing is computed before the first one is requested.

    Raises:
        ContextError: The prompt leaves no room for a token.
        DeviceError: With a token: the device cannot compute. The cache is then empty.
        NotFiniteError: With a token: logits are NaN or infinite. The cache is then empty.
        ValueError: A number is out of its range.
    """
    for name, number in (
        ("chunk_tokens", chunk_tokens),
        ("context_tokens", context_tokens),
    ):
        if isinstance(number, int) and number < 1:
            raise ValueError(f"[generate] {name} must be 1 or more: {number}.")
    room_tokens = None
    if context_tokens is not None:
        room_tokens = context_tokens - len(request.prompt)
        if room_tokens < 1:
            raise ContextError(
                f"A conversation must have under {context_tokens:,} tokens "
                f"but has {len(request.prompt):,}."
            )
    if cache is None:
        cache = PromptCache(model, max_snapshots=0)
    return _Generation(
        model, request, cache, room_tokens, chunk_tokens, wired_bytes, between
    )


class _Generation:
    """A request in progress, in the asking thread."""

    def __init__(
        self,
        model: LanguageModel,
        request: Request,
        cache: PromptCache,
        room_tokens: int | None,
        chunk_tokens: int | Callable[[int], int] | None,
        wired_bytes: int,
        between: Callable[[], None],
    ) -> None:
        self.cached_tokens = 0
        self._cache = cache
        self._chunk_tokens = chunk_tokens
        self._wired_bytes = wired_bytes
        self._between = between
        self._request = request
        self._draw = _Draw(model, request)
        self._stops = StopDetector(request.stops, room_tokens)
        self._steps = self._run()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> GeneratedToken:
        return next(self._steps)

    def close(self) -> None:
        self._steps.close()

    def _run(self) -> Generator[GeneratedToken]:
        with wired(self._wired_bytes):
            yield from self._tokens()

    def _tokens(self) -> Generator[GeneratedToken]:
        cache = self._cache
        text = list(self._request.prompt)
        hidden = self._prefill(text, self._request.progress)
        begun, self.cached_tokens = cache.begun, cache.cached_tokens
        with self._cleared_on_error():
            drawn = self._draw(hidden)
        for number in count(1):
            with self._cleared_on_error():
                token, following = self._step(drawn, number)
            text.append(token.token)
            self._between()
            yield token
            if token.finish_reason is not None:
                return
            if cache.begun != begun:
                # Another request has used the cache in the meantime.
                hidden = self._prefill(text)
                begun = cache.begun
            elif following is None:
                with self._cleared_on_error():
                    hidden = cache.decode(drawn.token)
                    cache.record(token.token)
            if following is None:
                with self._cleared_on_error():
                    following = self._draw(hidden)
            drawn = following

    def _step(self, drawn: _Drawn, number: int) -> tuple[GeneratedToken, _Drawn | None]:
        """Wait for a token; return it, and the next one if that is already queued."""
        cache, grammar = self._cache, self._request.grammar
        following = None
        # A layerwise model would compute all of the next token before this one is shown.
        waits = cache.is_layerwise
        if grammar is None and not waits and number != self._stops.limit:
            # Queue the next token before waiting for this one's id.
            following = self._draw(cache.decode(drawn.token))
        token = drawn.id
        drawn.check()
        reason = self._stops.push(token, number)
        if grammar is not None and reason is None:
            grammar.accept(token)
            if not waits:
                following = self._draw(cache.decode(drawn.token))
        if following is not None:
            cache.record(token)
        return drawn.read(reason), None if reason is not None else following

    @contextmanager
    def _cleared_on_error(self) -> Iterator[None]:
        """Empty the cache after a step that failed, or that a signal has ended."""
        try:
            with device_errors():
                yield
        except BaseException as error:
            self._cache.clear()
            if isinstance(error, DeviceError):
                # Later steps in the queue may fail too, and must not fail the next request.
                with suppress(RuntimeError):
                    mx.synchronize()
                mx.clear_cache()
            raise

    def _prefill(self, text: list[int], progress: Progress | None = None) -> mx.array:
        """Compute the tokens that are not cached; return the last one's hidden state."""
        with self._cleared_on_error():
            rest = self._cache.begin(text)
        hidden = None
        done = 0
        while hidden is None:
            if self._cache.is_layerwise:
                chunks = self._chunks(rest[done : done + CARRIED_TOKENS])
                report = self._after_layer(done, len(rest), progress)
                with self._cleared_on_error():
                    hidden = self._cache.prefill_layerwise(list(chunks), report)
                done += CARRIED_TOKENS
                continue
            piece = next(self._chunks(rest[done:]))
            with self._cleared_on_error():
                hidden = self._cache.prefill(piece)
            done += len(piece)
            self._between()
            if progress is not None:
                progress(done, len(rest))
        return hidden

    def _after_layer(self, before: int, total: int, progress: Progress | None) -> Progress:
        """Return what is called after a layer of a part of the prompt.

        Args:
            before: The tokens before this part.
            total: The tokens of all parts.
            progress: Called with the whole's progress.
        """

        def report(done: int, _: int) -> None:
            self._between()
            if progress is not None:
                progress(before + done, total)

        return report

    def _chunks(self, rest: list[int]) -> Iterator[list[int]]:
        """Cut the next tokens of the prompt into chunks."""
        machine, done = this_machine(), 0
        offset = len(self._cache.tokens)
        while done < len(rest):
            chunk = self._chunk_tokens or partial(memory.chunk_tokens, machine)
            most = chunk(offset + done) if callable(chunk) else chunk
            yield rest[done : done + most]
            done += most


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A token that is being computed, and its logprobs if asked for.

    Attributes:
        token: Shape ``(1,)``.
        largest: The largest of the model's logits. A scalar.
    """

    token: mx.array
    largest: mx.array
    logprob: mx.array | None = None
    top: tuple[mx.array, mx.array] | None = None

    @property
    def id(self) -> int:
        return cast(int, self.token.item())

    def check(self) -> None:
        """Check that the logits are finite.

        The largest is enough: MLX makes it NaN if any logit is NaN. Minus infinity is
        never drawn, so it does not matter.

        Raises:
            NotFiniteError: A logit is NaN or infinite.
        """
        if not math.isfinite(largest := cast(float, self.largest.item())):
            raise NotFiniteError(f"The model's logits must be finite but reach {largest}.")

    def read(self, reason: FinishReason | None) -> GeneratedToken:
        if self.logprob is None:
            return GeneratedToken(self.id, finish_reason=reason)
        top: tuple[tuple[int, float], ...] = ()
        if self.top is not None:
            ids, logprobs = (np.asarray(array).tolist() for array in self.top)
            top = tuple(zip(ids, logprobs, strict=True))
        return GeneratedToken(self.id, cast(float, self.logprob.item()), top, reason)


class _Draw:
    """Draws a token from hidden states, and queues the computation."""

    def __init__(self, model: LanguageModel, request: Request) -> None:
        self._sampler = request.sampling.sampler()
        self._processors = [*request.sampling.processors(), *request.processors]
        self._grammar = request.grammar
        self._logprobs = request.logprobs
        self._model = model
        self._prompt = request.prompt
        self._text: mx.array | None = None  # made in the thread that computes

    def __call__(self, hidden: mx.array) -> _Drawn:
        logits = self._model.lm_head(hidden)[:, -1]  # (1, V)
        changed = logits
        if self._processors:
            if self._text is None:
                self._text = mx.array(list(self._prompt))
            for process in self._processors:
                changed = process(self._text, changed)
        if self._grammar is not None:
            changed = self._grammar.process(changed)
        token = self._sampler(changed)
        if self._text is not None:
            self._text = mx.concatenate([self._text, token.astype(self._text.dtype)])
        drawn = self._with_logprobs(token, logits)
        arrays = [drawn.token, drawn.largest, *(drawn.top or ())]
        arrays += [drawn.logprob] if drawn.logprob is not None else []
        mx.async_eval(*arrays)  # type: ignore[no-untyped-call]
        return drawn

    def _with_logprobs(self, token: mx.array, logits: mx.array) -> _Drawn:
        largest = logits.max()
        if self._logprobs is None:
            return _Drawn(token, largest)
        row = logits[0].astype(mx.float32)
        row = row - mx.logsumexp(row)
        top = None
        if self._logprobs:
            ids = mx.argsort(-row)[: self._logprobs]
            top = ids, row[ids]
        return _Drawn(token, largest, row[token], top)
