"""A request to a model, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import mlx.core as mx

from gptoss_mlx.generation.sampling import LogitsProcessor, Sampling
from gptoss_mlx.generation.stops import FinishReason, Stops

__all__ = [
    "GeneratedToken",
    "Generation",
    "Grammar",
    "Progress",
    "Request",
    "TokenSource",
]

Progress = Callable[[int, int], None]
"""Called with (tokens prefilled, tokens to prefill)."""


class Grammar(Protocol):
    """Restricts the next token. It gets each token before the next one is drawn."""

    def process(self, logits: mx.array) -> mx.array:
        """Return logits ``(1, V)`` with -inf for tokens that are not allowed."""

    def accept(self, token: int) -> None:
        """Take the token that was drawn."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, and how to continue it. Its state ends with its generation.

    Attributes:
        prompt: Token ids, at least one.
        sampling: How tokens are drawn.
        stops: When to end the answer.
        logprobs: How many of the likeliest tokens to return with logprobs, besides each
            token's own. None: no logprobs.
        processors: Called in order to change the logits, after those of ``sampling``.
        grammar: Changes the logits last, and gets token n before n + 1 is drawn. It costs
            the time saved by computing n + 1 while n is handled.
        progress: Called with (tokens prefilled, tokens to prefill).
        watch: Called at least ten times a second during the wait for a token. An error
            that it raises ends the wait.
    """

    prompt: Sequence[int]
    sampling: Sampling = Sampling()
    stops: Stops = Stops()
    logprobs: int | None = None
    processors: tuple[LogitsProcessor, ...] = ()
    grammar: Grammar | None = None
    progress: Progress | None = None
    watch: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: The prompt is empty, or ``logprobs`` negative.
        """
        if not self.prompt:
            raise ValueError("[Request] prompt must have at least one token but is empty.")
        if self.logprobs is not None and self.logprobs < 0:
            raise ValueError(f"[Request] logprobs must be 0 or more: {self.logprobs}.")


@dataclass(frozen=True, slots=True)
class GeneratedToken:
    """One token of an answer.

    Attributes:
        token: Its id.
        logprob: The natural logarithm of the model's probability, before processors,
            temperature and filters. None unless requested.
        top_logprobs: The likeliest tokens with their logprobs, likeliest first.
        finish_reason: Why this is the last token; None if more follow.
    """

    token: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    finish_reason: FinishReason | None = None


class Generation(Protocol):
    """A request in progress: an iterator over its tokens.

    The last token has a ``finish_reason``. It may be left or closed at any time.
    """

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that were cached; known with the first token."""

    def __iter__(self) -> Self: ...

    def __next__(self) -> GeneratedToken:
        """Return the next token."""

    def close(self) -> None:
        """Stop. No more tokens come."""


class TokenSource(Protocol):
    """Continues prompts, with a model or, in tests, a script."""

    @property
    def context_tokens(self) -> int:
        """The most tokens of prompt and answer together."""

    def __call__(self, request: Request) -> Generation:
        """Begin to answer a request.

        Raises:
            ContextError: The prompt leaves no room for a token.
            ValueError: A number of the request is out of its range.
        """
