"""From logits to the next token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx

from gptoss_mlx.errors import ConfigError
from gptoss_mlx.files import read_json_object

__all__ = ["Sampler", "default_sampler", "keep_top_p", "make_sampler"]

Sampler = Callable[[mx.array], mx.array]
"""Takes logits ``(B, V)``, gives token ids ``(B,)``."""


def make_sampler(
    temperature: float = 1.0, top_p: float = 1.0, *, seed: int | None = None
) -> Sampler:
    """Make a function that draws tokens.

    Args:
        temperature: What logits are divided by. 0 always takes the likeliest token.
        top_p: Draw from the likeliest tokens that together have this probability, and
            always from the first of them. Over 0, at most 1.
        seed: The same seed draws the same tokens. None: a new one.

    Raises:
        ValueError: A number is out of its range.
    """
    if not temperature >= 0:
        raise ValueError(
            f"[make_sampler] temperature must be 0 or more but got {temperature}."
        )
    if not 0 < top_p <= 1:
        raise ValueError(
            f"[make_sampler] top_p must be over 0 and at most 1 but got {top_p}."
        )
    if temperature == 0:
        return lambda logits: mx.argmax(logits, axis=-1)
    state = {"key": mx.random.key(seed)} if seed is not None else None

    def draw(logits: mx.array) -> mx.array:
        key = None
        if state is not None:
            state["key"], key = mx.random.split(state["key"])
        logits = logits.astype(mx.float32) / temperature
        if top_p < 1:
            logits = keep_top_p(logits, top_p)
        return mx.random.categorical(logits, key=key)

    return draw


def default_sampler(folder: Path, *, seed: int | None = None) -> Sampler:
    """Make the sampler that a model folder's generation_config.json asks for.

    ``do_sample: false`` takes the likeliest token. What is not said is 1.0, as OpenAI
    recommends for gpt-oss; so is everything if there is no such file.

    Raises:
        ConfigError: The file is no JSON object, or a value is out of its range.
        StorageError: It cannot be read.
    """
    path = folder / "generation_config.json"
    if not path.is_file():
        return make_sampler(seed=seed)
    keys = read_json_object(path)
    if keys.get("do_sample") is False:
        return make_sampler(0)
    values = [keys.get(name, 1.0) for name in ("temperature", "top_p")]
    try:
        return make_sampler(*map(float, values), seed=seed)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: temperature must be a number of 0 or more, top_p over 0 and at "
            f"most 1, but they are {values[0]!r} and {values[1]!r}."
        ) from error


def keep_top_p(logits: mx.array, top_p: float) -> mx.array:
    """Set all logits to -inf but those of the likeliest tokens that make up ``top_p``.

    Source: https://arxiv.org/abs/1904.09751
    """
    order = mx.argsort(-logits, axis=-1)
    probabilities = mx.softmax(mx.take_along_axis(logits, order, axis=-1), axis=-1)
    before = mx.cumsum(probabilities, axis=-1) - probabilities
    # The likeliest token stays, whatever rounding makes of a tiny top_p.
    kept = (before < top_p) | (mx.arange(logits.shape[-1]) == 0)
    return mx.where(
        mx.put_along_axis(mx.zeros(logits.shape, mx.bool_), order, kept, axis=-1),
        logits,
        -mx.inf,
    )
