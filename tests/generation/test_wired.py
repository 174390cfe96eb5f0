from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from golden import Case

from gptoss_mlx.device import Machine
from gptoss_mlx.generation import model_source
from gptoss_mlx.generation import wired as wired_module
from gptoss_mlx.generation.model_source import ModelSource
from gptoss_mlx.generation.request import Request
from gptoss_mlx.generation.stops import Stops
from gptoss_mlx.generation.wired import wired
from gptoss_mlx.model.loading import load_model

LIMIT = 1_000


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What MLX is told, on a machine that lets a program use LIMIT bytes."""
    told: list[int] = []
    machine = Machine("Apple M4", "gpu", "bfloat16", 2 * LIMIT, LIMIT, "", (15, 0))
    for module in (wired_module, model_source):
        monkeypatch.setattr(module, "this_machine", lambda: machine)
    monkeypatch.setattr(mx, "set_wired_limit", told.append)
    return told


def test_memory_is_wired_while_it_is_held(limits: list[int]) -> None:
    """Only until the context ends, even by an error."""

    def answer() -> None:
        with wired(300):
            assert limits == [300]
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        answer()
    assert limits == [300, 0]


def test_models_that_answer_in_turn_are_wired_together(limits: list[int]) -> None:
    """Up to what a program may use, whichever ends first."""
    first, second = wired(300), wired(900)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)

    assert limits == [300, LIMIT, 900, 0]


def test_nothing_is_told_where_nothing_is_to_be_wired(limits: list[int]) -> None:
    """MLX's own limit is unchanged."""
    with wired(0):
        pass

    assert limits == []


@pytest.mark.parametrize("wire", [True, False])
def test_a_large_model_is_wired_from_its_prompt_to_its_last_token(
    limits: list[int], released: dict[Case, Path], wire: bool
) -> None:
    """Unless the user does not want it; a generation that is left lets go too."""
    model = load_model(released[Case(1, 8)], dtype=mx.float32)
    source = ModelSource(model, wire=wire)
    request = Request([5, 6, 7], stops=Stops(frozenset(), max_tokens=3))

    generation = source(request)
    assert limits == []
    next(generation)
    assert limits == ([LIMIT] if wire else [])
    assert len(list(generation)) == 2
    left = source(request)
    next(left)
    left.close()
    list(source(request))

    assert limits == ([LIMIT, 0] * 3 if wire else [])
