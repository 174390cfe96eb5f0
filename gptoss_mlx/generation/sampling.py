"""Draws the next token from logits.

The factories have mlx-lm's names. The order is transformers': processors, temperature,
``top_k``, ``top_p``, ``min_p``, each on the probabilities left by the one before.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import mlx.core as mx

from gptoss_mlx.errors import ConfigError
from gptoss_mlx.files import read_json_object, short
from gptoss_mlx.tokenizer import SPECIAL_TOKENS

__all__ = [
    "LogitsProcessor",
    "Sampler",
    "Sampling",
    "keep_likely",
    "make_logits_processors",
    "make_sampler",
    "read_sampling_defaults",
]

Sampler = Callable[[mx.array], mx.array]
"""Takes logits ``(B, V)``, returns token ids ``(B,)``."""

LogitsProcessor = Callable[[mx.array, mx.array], mx.array]
"""Takes the tokens ``(L,)``, prompt included, and logits ``(1, V)``; returns logits."""

# The limits of float32, the dtype in which logits are changed.
MAX_NUMBER = 3e38

FIRST_SPECIAL = min(SPECIAL_TOKENS.values())


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn: the arguments of the factories below.

    Attributes:
        temperature: 0 always takes the likeliest token.
        top_k: 0: all tokens.
        repetition_penalty: 1: no penalty.
        seed: The same seed draws the same tokens. None: a new seed.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A number is out of its range.
        """
        self.sampler()
        self.processors()

    def sampler(self) -> Sampler:
        """Make the function that draws tokens."""
        return make_sampler(
            self.temperature,
            self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            seed=self.seed,
        )

    def processors(self) -> list[LogitsProcessor]:
        """Make the functions that change logits before a draw."""
        return make_logits_processors(repetition_penalty=self.repetition_penalty)


def make_sampler(
    temperature: float = 1.0,
    top_p: float = 1.0,
    *,
    top_k: int = 0,
    min_p: float = 0.0,
    seed: int | None = None,
) -> Sampler:
    """Make a function that draws tokens.

    Args:
        temperature: Divides the logits. 0 always takes the likeliest token.
        top_p: Draw from the likeliest tokens that together have this probability; the
            likeliest always stays. Over 0, at most 1.
        top_k: Draw from this many of the likeliest tokens. 0: from all.
        min_p: Draw from tokens with at least this share of the likeliest token's
            probability. From 0 to 1.
        seed: The same seed draws the same tokens. None: a new seed.

    Raises:
        ValueError: A number is out of its range.
    """
    if not (_is_number(temperature) and 0 <= temperature <= MAX_NUMBER):
        raise ValueError(
            f"[make_sampler] temperature must be 0 or more but got {short(temperature)}."
        )
    _check_filters("make_sampler", top_p, top_k, min_p)
    if seed is not None and not (isinstance(seed, int) and 0 <= seed < 1 << 64):
        raise ValueError(
            "[make_sampler] seed must be an integer from 0 to 2^64 - 1 "
            f"but got {short(seed)}."
        )
    if temperature == 0:
        return lambda logits: mx.argmax(logits, axis=-1)
    keys = _keys(secrets.randbits(64) if seed is None else seed)

    def draw(logits: mx.array) -> mx.array:
        logits = logits.astype(mx.float32)
        # Subtract the largest first: a tiny temperature must not make two logits infinite.
        logits = (logits - logits.max(axis=-1, keepdims=True)) / temperature
        logits = keep_likely(logits, top_p=top_p, top_k=top_k, min_p=min_p)
        # The Gumbel trick: mx.random.categorical chooses between several methods.
        return mx.argmax(logits + mx.random.gumbel(logits.shape, key=next(keys)), axis=-1)

    return draw


def _keys(seed: int) -> Iterator[mx.array]:
    """Yield one key per draw. MLX's own random state belongs to one thread."""
    key = mx.random.key(seed)
    while True:
        key, drawn = mx.random.split(key)
        yield drawn


def keep_likely(
    logits: mx.array, *, top_p: float = 1.0, top_k: int = 0, min_p: float = 0.0
) -> mx.array:
    """Set the logits of unlikely tokens to -inf.

    Ties are decided by the order of ``mx.argsort``: on the CPU the lower id comes first.
    One token always stays.

    Args:
        logits: Shape ``(B, V)``.
        top_p: As in ``make_sampler``, like the others.

    Returns:
        Shape ``(B, V)``.

    Raises:
        ValueError: A number is out of its range.

    Source: https://arxiv.org/abs/1904.09751 (top_p) and
        https://arxiv.org/abs/2407.01082 (min_p)
    """
    _check_filters("keep_likely", top_p, top_k, min_p)
    V = logits.shape[-1]
    if 0 < top_k < V or top_p < 1:
        order = mx.argsort(-logits, axis=-1)
        rank = mx.arange(V)
        falling = mx.take_along_axis(logits, order, axis=-1)
        if 0 < top_k < V:
            falling = mx.where(rank < top_k, falling, -mx.inf)
        kept = falling > -mx.inf
        if top_p < 1:
            probabilities = mx.softmax(falling, axis=-1)
            before = mx.cumsum(probabilities, axis=-1) - probabilities
            # The likeliest token stays, however a tiny top_p is rounded.
            kept = kept & ((before < top_p) | (rank == 0))
        places = mx.put_along_axis(mx.zeros(logits.shape, mx.bool_), order, kept, axis=-1)
        logits = mx.where(places, logits, -mx.inf)
    if min_p > 0:
        least = logits.max(axis=-1, keepdims=True) + math.log(min_p)
        logits = mx.where(logits >= least, logits, -mx.inf)
    return logits


def make_logits_processors(
    *,
    logit_bias: Mapping[int, float] | None = None,
    repetition_penalty: float = 1.0,
    repetition_context_tokens: int = 64,
) -> list[LogitsProcessor]:
    """Make the functions that change logits before a token is drawn.

    Args:
        logit_bias: Added to each token's logit.
        repetition_penalty: Divides positive logits of tokens in the last text, and
            multiplies negative ones. Special tokens are left alone: a message must be able
            to end. 1: no penalty.
        repetition_context_tokens: Length of the last text, prompt included.

    Raises:
        ValueError: A number is out of its range.

    Source: https://arxiv.org/abs/1909.05858 (the penalty)
    """
    processors: list[LogitsProcessor] = []
    if not 0 < repetition_penalty <= MAX_NUMBER:
        raise ValueError(
            "[make_logits_processors] repetition_penalty must be over 0 "
            f"but got {short(repetition_penalty)}."
        )
    if repetition_context_tokens < 1:
        raise ValueError(
            "[make_logits_processors] repetition_context_tokens must be 1 or more "
            f"but got {repetition_context_tokens}."
        )
    if repetition_penalty != 1:
        processors.append(_penalize(repetition_penalty, repetition_context_tokens))
    if logit_bias:
        processors.append(_add_bias(logit_bias))
    return processors


def _penalize(penalty: float, context_tokens: int) -> LogitsProcessor:
    def process(tokens: mx.array, logits: mx.array) -> mx.array:
        V = logits.shape[-1]
        last = tokens[-context_tokens:]
        # MLX does not check bounds when it writes. One more row takes skipped writes.
        last = mx.where((last >= 0) & (last < min(V, FIRST_SPECIAL)), last, V)
        seen = mx.zeros((V + 1,), mx.bool_)
        seen[last] = mx.array(True)
        weaker = mx.where(logits > 0, logits / penalty, logits * penalty)
        return mx.where(seen[:V], weaker, logits)

    return process


def _add_bias(bias: Mapping[int, float]) -> LogitsProcessor:
    if wrong := [token for token in bias if token < 0]:
        raise ValueError(
            f"[make_logits_processors] logit_bias must be for token ids but got {wrong[0]}."
        )
    if any(math.isnan(value) for value in bias.values()):
        raise ValueError("[make_logits_processors] logit_bias must be numbers but got nan.")
    tokens, values = mx.array(list(bias)), mx.array(list(bias.values()), mx.float32)

    def process(_: mx.array, logits: mx.array) -> mx.array:
        # MLX does not check bounds when it writes.
        if max(bias) >= logits.shape[-1]:
            raise ValueError(
                f"[make_logits_processors] logit_bias must be for ids below "
                f"{logits.shape[-1]} but got {max(bias)}."
            )
        return logits.astype(mx.float32).at[:, tokens].add(values)

    return process


def read_sampling_defaults(folder: Path) -> Sampling:
    """Read the defaults in a model folder's generation_config.json.

    ``do_sample: false`` takes the likeliest token. Without the file, a temperature or a
    top_p, these are 1.0, as OpenAI recommends for gpt-oss.

    Raises:
        ConfigError: The file is not a JSON object, or a value is out of its range.
        StorageError: The file cannot be read.
    """
    path = folder / "generation_config.json"
    if not os.path.lexists(path):
        return Sampling()
    keys = read_json_object(path)

    def number(
        name: str,
        default: float,
        rule: str,
        *,
        most: float = MAX_NUMBER,
        whole: bool = False,
    ) -> float:
        value: Any = keys.get(name, default)
        if value is None:
            return default
        least_itself = name in {"temperature", "top_k", "min_p"}
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not (0 <= value if least_itself else 0 < value)
            or not value <= most
            or (whole and value != int(value))
        ):
            raise ConfigError(
                f"{path}: {name} must be {rule} but is {short(value)}.",
                hint=f"Correct {name} there, or remove it: {path}",
            )
        return value

    defaults = Sampling(
        temperature=number("temperature", 1.0, "a number of 0 or more"),
        top_p=number("top_p", 1.0, "a number over 0 and at most 1", most=1),
        top_k=int(number("top_k", 0, "a whole number of 0 or more", whole=True)),
        min_p=number("min_p", 0.0, "a number from 0 to 1", most=1),
        repetition_penalty=number("repetition_penalty", 1.0, "a number over 0"),
    )
    if keys.get("do_sample") is False:
        return Sampling(0.0, repetition_penalty=defaults.repetition_penalty)
    return defaults


def _check_filters(where: str, top_p: float, top_k: int, min_p: float) -> None:
    if not (_is_number(top_p) and 0 < top_p <= 1):
        raise ValueError(
            f"[{where}] top_p must be over 0 and at most 1 but got {short(top_p)}."
        )
    if not (isinstance(top_k, Integral) and top_k >= 0):
        raise ValueError(f"[{where}] top_k must be 0 or more but got {short(top_k)}.")
    if not (_is_number(min_p) and 0 <= min_p <= 1):
        raise ValueError(f"[{where}] min_p must be from 0 to 1 but got {short(min_p)}.")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
