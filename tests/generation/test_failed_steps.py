"""Steps of an answer that fail."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import pytest
from sum_model import SumModel, continue_, expected, ids, one_hot

from gptoss_mlx.errors import DeviceError
from gptoss_mlx.generation.engine import _Drawn
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.model.cache import Cache


def test_a_step_that_fails_leaves_a_cache_that_can_be_used() -> None:
    """What was held is not trusted any more: the next prompt is read whole."""

    class Failing(SumModel):
        fails = False

        def _hidden(
            self, tokens: mx.array, cache: list[Cache], /, *, last_only: bool = False
        ) -> mx.array:
            hidden = super()._hidden(tokens, cache)
            if self.fails:
                raise RuntimeError("out of memory")
            return hidden

    model = Failing()
    cache = PromptCache(model)
    steps = continue_(model, [1, 2, 3], cache=cache)
    next(steps)
    model.fails = True
    with pytest.raises(RuntimeError, match="out of memory"):
        next(steps)
    model.fails = False

    assert ids(continue_(model, [1, 2, 3], cache=cache, max_tokens=3)) == expected(
        [1, 2, 3], 3
    )
    assert cache.cached_tokens == 0


@pytest.mark.parametrize("where", ["model", "lm_head", "eval", "item"])
@pytest.mark.parametrize("steps", [0, 2])
def test_a_device_that_fails_at_a_step(
    where: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever MLX says so, the error has a name, and the cache is good for the next."""
    fails = False

    def check(place: str) -> None:
        if fails and place == where:
            raise RuntimeError("[METAL] Command buffer execution failed: No.")

    class Failing(SumModel):
        @property
        def lm_head(self) -> Callable[[mx.array], mx.array]:
            check("lm_head")
            return one_hot

        def _hidden(
            self, tokens: mx.array, cache: list[Cache], /, *, last_only: bool = False
        ) -> mx.array:
            check("model")
            return super()._hidden(tokens, cache, last_only=last_only)

    for name, owner in (("eval", mx), ("async_eval", mx)):
        real = getattr(owner, name)

        def checked(*arrays: mx.array, real: Callable[..., None] = real) -> None:
            check("eval")
            real(*arrays)

        monkeypatch.setattr(owner, name, checked)
    token_id: Callable[[_Drawn], int] = vars(_Drawn)["id"].fget

    def drawn_id(drawn: _Drawn) -> int:
        check("item")
        return token_id(drawn)

    monkeypatch.setattr(_Drawn, "id", property(drawn_id))
    model = Failing()
    cache = PromptCache(model)
    first = continue_(model, [1, 2, 3], cache=cache)
    for _ in range(steps):
        next(first)
    fails = True
    with pytest.raises(DeviceError, match="Command buffer execution failed"):
        next(first)
    fails = False

    assert cache.tokens == []
    again = continue_(model, [1, 2, 3], cache=cache, max_tokens=3)
    assert ids(again) == expected([1, 2, 3], 3)


def test_what_was_queued_behind_a_step_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for, and may fail as well: the first error is told."""
    waited = 0

    def wait() -> None:
        nonlocal waited
        waited += 1
        raise RuntimeError("[METAL] Command buffer execution failed: the second.")

    def fail(*arrays: mx.array) -> None:
        raise RuntimeError("[METAL] Command buffer execution failed: the first.")

    monkeypatch.setattr(mx, "synchronize", wait)
    monkeypatch.setattr(mx, "eval", fail)
    with pytest.raises(DeviceError, match="the first"):
        next(continue_(SumModel(), [1, 2]))

    assert waited == 1
