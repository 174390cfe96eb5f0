"""A model whose answers can be computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx

from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.language_model import HiddenStates, LanguageModel
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.request import GeneratedToken, Generation, Request
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import Stops
from gptoss_mlx.model.cache import Cache
from gptoss_mlx.model.full_cache import FullCache
from gptoss_mlx.tokenizer import STOP_TOKENS

VOCAB = 100
NEVER: frozenset[int] = frozenset()
GREEDY = Sampling(temperature=0)


def one_hot(hidden: mx.array) -> mx.array:
    """Make the token that is the hidden state the likeliest."""
    equal: mx.array = mx.equal(hidden, mx.arange(VOCAB))
    return equal.astype(mx.float32)


class SumModel:
    """Says the sum of all tokens so far, modulo VOCAB: it needs its cache to be right.

    Its one layer keeps the tokens as keys.
    """

    def __init__(self) -> None:
        self.chunks: list[int] = []

    @property
    def model(self) -> HiddenStates:
        """Tokens to sums."""
        return self._hidden

    @property
    def lm_head(self) -> Callable[[mx.array], mx.array]:
        """Sums to logits."""
        return one_hot

    def make_cache(self) -> list[Cache]:
        """One full layer."""
        return [FullCache()]

    def _hidden(
        self, tokens: mx.array, cache: list[Cache], /, *, last_only: bool = False
    ) -> mx.array:
        self.chunks.append(tokens.shape[1])
        keys = tokens.astype(mx.float32)[:, None, :, None]  # (1, 1, L, 1)
        seen, _ = cache[0].update_and_fetch(keys, keys)
        sums = mx.cumsum(seen, axis=2)[:, 0, -tokens.shape[1] :] % VOCAB
        return sums.astype(mx.int32)[:, -1:] if last_only else sums.astype(mx.int32)


def ids(tokens: Iterable[GeneratedToken]) -> list[int]:
    """The ids alone."""
    return [step.token for step in tokens]


def expected(prompt: list[int], count: int) -> list[int]:
    """Continue by hand."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(sum(tokens) % VOCAB)
    return tokens[len(prompt) :]


def continue_(
    model: LanguageModel,
    prompt: list[int],
    *,
    sampling: Sampling = GREEDY,
    stop_tokens: frozenset[int] = STOP_TOKENS,
    stop_strings: tuple[str, ...] = (),
    max_tokens: int | None = None,
    cache: PromptCache | None = None,
    context_tokens: int | None = None,
    chunk_tokens: int = 512,
    **options: Any,
) -> Generation:
    """Continue a prompt in this thread."""
    stops = Stops(stop_tokens, stop_strings, max_tokens)
    return generate(
        model,
        Request(prompt, sampling=sampling, stops=stops, **options),
        cache=cache,
        context_tokens=context_tokens,
        chunk_tokens=chunk_tokens,
    )
