from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.config import RELEASED
from gptoss_mlx.config_json import read_config
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.recipes import RECIPES
from gptoss_mlx.device import Machine
from gptoss_mlx.errors import NotEnoughMemoryError
from gptoss_mlx.model.footprint import (
    cache_bytes,
    expert_bytes,
    footprint_of,
    weights_of,
)
from gptoss_mlx.model.loading import load_model, plan_checkpoint
from gptoss_mlx.model.plan import plan_in_budget, plan_of
from gptoss_mlx.model.residency import loaded_bytes

EXACT, Q8 = RECIPES["exact"].packing, RECIPES["q8"].packing
SMALL, LARGE = RELEASED["20b"], RELEASED["120b"]
GB, GIB = 10**9, 1 << 30
LINUX = Machine("cpu", "cpu", "float32", 24 * GIB, 18 * GIB)
MAC = Machine("Apple M4", "gpu", "bfloat16", 16 * GIB, int(10.67 * GIB), macos=(15, 6))


def resident_slots(*arguments: Any, **options: Any) -> int | None:
    """How many experts of each layer a budget keeps; None for the resident model."""
    plan = plan_in_budget(*arguments, **options)
    return plan.slots if plan.streams else None


def test_an_expert_is_13_megabytes() -> None:
    """4.25 bits of 3 x 2,880 x 2,880 values; its biases are loaded."""
    assert expert_bytes(SMALL) == expert_bytes(LARGE) == 13_219_200


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_what_is_loaded_is_counted_to_the_byte(tmp_path: Path, recipe: str) -> None:
    """The parameters of a streamed model, in either dtype; its slots are beside them."""
    write_tiny_checkpoint(tmp_path / "released", hidden_size=128)
    convert_checkpoint(tmp_path / "released", tmp_path / "model", recipe=recipe)
    config = read_config(tmp_path / "model")

    for dtype in (mx.bfloat16, mx.float32):
        model = load_model(tmp_path / "model", dtype=dtype, resident=0.5)
        parameters = model.parameters()
        found = sum(array.nbytes for array in dict(tree_flatten(parameters)).values())
        assert found == loaded_bytes(
            weights_of(config, RECIPES[recipe].packing, dtype.size)
        )
        assert model.streaming is not None
        assert model.streaming.nbytes == 4 * 4 * expert_bytes(config)


@pytest.mark.parametrize(
    ("machine", "config", "packing", "budget", "slots"),
    [
        (LINUX, SMALL, EXACT, 8 * GB, 5),
        (LINUX, SMALL, Q8, 60 * GB, None),
        (MAC, SMALL, Q8, 20 * GB, None),
        (MAC, SMALL, Q8, 8 * GB, 17),
        (MAC, LARGE, Q8, 10 * GB, 14),
    ],
)
def test_a_budget_is_a_number_of_slots(
    machine: Machine, config: object, packing: object, budget: int, slots: int | None
) -> None:
    """What remains beside the other weights, 8,192 tokens and the working memory."""
    assert resident_slots(config, packing, machine, budget) == slots


def test_more_budget_is_never_fewer_slots() -> None:
    """Up to all of the experts, and then the resident model."""
    found = [resident_slots(SMALL, Q8, MAC, n * GB // 4) for n in range(24, 60)]
    numbers = [32.5 if slots is None else slots for slots in found]

    assert numbers == sorted(numbers)
    assert numbers[-1] == 32.5


def test_a_longer_context_takes_the_place_of_experts() -> None:
    """By its keys and values, and its hidden states during the prompt."""
    short, long = (
        plan_of(SMALL, Q8, MAC, context_tokens=tokens, budget_bytes=8 * GB).slots
        for tokens in (4_096, 32_768)
    )

    more = cache_bytes(SMALL, 32_768) - cache_bytes(SMALL, 4_096)
    assert (short - long) * 24 * expert_bytes(SMALL) >= more


@pytest.mark.parametrize(("budget", "tokens"), [(8.0, 4_096), (8.2, 4_096), (8.6, 8_192)])
def test_a_small_budget_has_a_shorter_context(budget: float, tokens: int) -> None:
    """The longest of three with which a token's experts fit."""
    plan = plan_in_budget(SMALL, EXACT, LINUX, int(budget * GB))

    assert plan.slots >= 4
    assert plan.footprint.context_tokens == tokens


def test_the_least_budget_that_is_named_is_enough() -> None:
    """The error's number, tried, is no error; and it is below the resident model's."""
    with pytest.raises(
        NotEnoughMemoryError, match=r"must be at least ([\d.]+)GB"
    ) as raised:
        resident_slots(SMALL, Q8, MAC, GB)
    least = float(str(raised.value).split("at least ")[1].split("GB")[0])

    assert resident_slots(SMALL, Q8, MAC, int(least * GB)) == 4
    assert least * GB < footprint_of(SMALL, Q8, MAC, context_tokens=4_096).total_bytes
    assert f"--memory-budget {least}GB" in raised.value.hint


def test_a_share_that_leaves_no_room_for_a_conversation_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of the message is enough, and a byte less is not."""
    write_tiny_checkpoint(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    plan = plan_checkpoint(checkpoint, resident=0.5)
    needed = plan.needed_bytes(2_048)

    def limited(nbytes: int) -> None:
        machine = replace(plan.machine, limit_bytes=nbytes)
        monkeypatch.setattr("gptoss_mlx.model.loading.this_machine", lambda: machine)

    limited(needed)
    assert plan_checkpoint(checkpoint, resident=0.5).longest_context_tokens >= 2_048
    limited(needed - 1)
    with pytest.raises(NotEnoughMemoryError, match=r"GB with 2,048 tokens of conversation"):
        plan_checkpoint(checkpoint, resident=0.5)
