from __future__ import annotations

from collections import OrderedDict

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_mlx.fit.drawn_traces import draw_trace
from gptoss_mlx.fit.lru import stack_distances
from gptoss_mlx.fit.traces import Trace


class SlowCache:
    """A layer's slots as an implementation has them: an expert is evicted for another."""

    def __init__(self, slots: int, experts: int, *, warm: bool) -> None:
        filled = reversed(range(min(slots, experts))) if warm else ()
        self.slots = slots
        self.held = OrderedDict.fromkeys(filled)  # the least recently used is first

    def use(self, experts: list[int]) -> list[bool]:
        """Make room for a token's experts, and say which of them were there."""
        hits = [expert in self.held for expert in experts]
        for expert in experts:
            if expert not in self.held and len(self.held) == self.slots:
                victim = next(each for each in self.held if each not in experts)
                del self.held[victim]
            self.held[expert] = None
        for expert in experts:
            self.held.move_to_end(expert)
        return hits


def slow_hits(trace: Trace, slots: int, *, warm: bool) -> npt.NDArray[np.bool_]:
    """Whether each choice after the prompt was a hit."""
    layers = trace.chosen.shape[1]
    caches = [SlowCache(slots, trace.experts, warm=warm) for _ in range(layers)]
    hits = [
        [cache.use(experts) for cache, experts in zip(caches, token, strict=True)]
        for token in trace.chosen.tolist()
    ]
    return np.array(hits)[trace.prompt_tokens :]


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """A short trace of few experts, so that all kinds of evictions occur."""
    experts = draw(st.integers(1, 9))
    chosen = draw(st.integers(1, experts))
    layers = draw(st.integers(1, 3))
    tokens = draw(st.integers(1, 12))
    orders = st.permutations(range(experts))
    drawn = [
        [draw(orders)[:chosen] for _ in range(layers)] for _ in range(tokens)
    ]  # distinct experts of each token
    prompt_tokens = draw(st.integers(0, tokens - 1))
    return Trace(np.array(drawn, np.int32), experts, prompt_tokens)


@settings(deadline=None, database=None, derandomize=True, max_examples=300)
@given(traces(), st.booleans())
def test_the_hits_are_those_of_a_real_cache_of_every_size(trace: Trace, warm: bool) -> None:
    """One pass tells what caches with each number of slots do, choice for choice."""
    distances = stack_distances(trace, warm=warm)

    for slots in range(trace.chosen.shape[2], trace.experts + 1):
        np.testing.assert_array_equal(
            distances.counts < slots, slow_hits(trace, slots, warm=warm), err_msg=str(slots)
        )


def test_a_cold_cache_with_room_for_all_misses_each_expert_once() -> None:
    """Every first use is a miss, and nothing else is."""
    trace = draw_trace("flat", layers=2, experts=8, chosen=2, tokens=200)

    missed = stack_distances(trace, warm=False).counts >= 8

    assert missed.sum() == 2 * 8


def test_more_slots_never_hit_less() -> None:
    """An LRU cache has no such anomaly."""
    trace = draw_trace("recency", layers=4, experts=32, chosen=4, tokens=100)
    distances = stack_distances(trace)

    hits = [distances.hit_rate(slots) for slots in range(4, 33)]

    assert hits == sorted(hits)
    assert hits[-1] == 1


def test_the_cache_of_120b_is_simulated_within_seconds() -> None:
    """36 layers of 128 experts and 2,000 tokens need no sampling."""
    trace = draw_trace("recency", layers=36, experts=128, chosen=4, tokens=2_000)

    assert stack_distances(trace).counts.shape == (2_000, 36, 4)
