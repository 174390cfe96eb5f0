"""Draws routing traces: flat, or with the recency that published caches found.

Recency is drawn by stack distance: a layer's experts stand in the order of their last use,
and a token takes the expert at a place of that order with a fixed probability. A cache
that evicts the least recently used expert holds the first ``C`` places, so it hits with the
probability of these. The probabilities are those that reproduce the published rates in
``HIT_RATES``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from gptoss_mlx.fit.speed import hit_rate
from gptoss_mlx.fit.traces import Trace

__all__ = ["Routing", "draw_trace"]

Routing = Literal["flat", "recency"]
Floats = npt.NDArray[np.float64]


def draw_trace(
    routing: Routing,
    *,
    layers: int,
    experts: int,
    chosen: int,
    tokens: int,
    prompt_tokens: int = 0,
    seed: int = 0,
) -> Trace:
    """Draw a trace.

    Args:
        routing: ``flat``: each expert is equally likely, whatever came before. ``recency``:
            the likelier, the more recently it was used.
        layers: Layers, which are independent of each other.
        experts: Experts of a layer.
        chosen: Experts that a token chooses, at most ``experts``.
        tokens: Tokens to draw, those of the prompt included.
        prompt_tokens: See ``Trace``.
        seed: The same seed gives the same trace.
    """
    random = np.random.RandomState(seed)  # its numbers are the same in every NumPy
    if routing == "flat":
        places = np.full(experts, chosen / experts)
    else:
        ends = [hit_rate(place / experts) for place in range(experts + 1)]
        places = _capped(np.diff(ends) * chosen)
    trace = np.empty((tokens, layers, chosen), np.int32)
    order = np.tile(np.arange(experts), (layers, 1))  # expert 0 was used last
    rows = np.arange(layers)[:, None]
    for token in range(tokens):
        taken = _draw_places(random, places, layers, chosen)  # (layers, chosen)
        trace[token] = order[rows, taken]
        # The chosen move to the front, the last one first; the others keep their order.
        rank = np.tile(np.arange(experts), (layers, 1))
        rank[rows, taken] = -np.arange(1, chosen + 1)
        order = np.take_along_axis(order, np.argsort(rank, axis=1), axis=1)
    return Trace(trace, experts, prompt_tokens)


def _capped(likely: Floats) -> Floats:
    """Spread what exceeds 1 over the other places: none is taken twice by one token."""
    while (over := likely > 1 + 1e-12).any():
        excess = float((likely[over] - 1).sum())
        likely = np.where(over, 1.0, likely)
        room = np.where(likely < 1, likely, 0.0)
        likely = likely + room * excess / room.sum()
    return likely


def _draw_places(
    random: np.random.RandomState, places: Floats, layers: int, chosen: int
) -> npt.NDArray[np.int64]:
    """Take ``chosen`` distinct places in each layer, each as often as it is likely.

    Source: systematic sampling in random order, Madow 1949.
    """
    order = np.argsort(random.random_sample((layers, places.size)), axis=1)
    ends = np.cumsum(places[order], axis=1)  # (layers, experts), the last is `chosen`
    points = random.random_sample((layers, 1)) + np.arange(chosen)  # (layers, chosen)
    index = (ends[:, None, :] <= points[:, :, None]).sum(axis=-1)
    index = np.minimum(index, places.size - 1)  # the sum may be rounded down
    drawn = np.take_along_axis(order, index, axis=1)
    # Neighbouring places are taken in the order of the points, which would be a pattern.
    shuffled = np.argsort(random.random_sample((layers, chosen)), axis=1)
    return np.take_along_axis(drawn, shuffled, axis=1)
