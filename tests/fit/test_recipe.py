from __future__ import annotations

import pytest

from gptoss_mlx.device import Machine
from gptoss_mlx.fit.machine import another_mac
from gptoss_mlx.fit.recipe import recipe_for, recipe_here

GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "gib", "limit_gib", "name"),
    [
        ("20b", 8, 5.33, "q8"),
        ("20b", 16, 10.67, "small"),
        ("20b", 16, 11.84, "small"),
        ("20b", 18, 12.0, "small"),
        ("20b", 24, 16.0, "q8"),
        ("120b", 96, 72.0, "q8"),
        ("120b", 64, 51.84, "q8"),
        ("120b", 32, 21.33, "q8"),
        ("120b", 8, 4.0, "small"),
    ],
)
def test_the_recipe_that_a_mac_calls_for(
    size: str, gib: int, limit_gib: float, name: str
) -> None:
    """20b is made small for 16 GB, and where it streams far fewer experts."""
    chosen, reason = recipe_for(size, another_mac(gib * GIB, int(limit_gib * GIB)))

    assert chosen == name
    assert reason.startswith(f"Recipe {name}: ")
    assert f"a program may use {limit_gib * GIB / 1e9:.1f} GB here" in reason


def test_the_reason_has_the_plan_s_numbers() -> None:
    """In a line, with the way to run it."""
    reasons = [
        recipe_for("20b", another_mac(gib * GIB, int(limit * GIB)))[1]
        for gib, limit in ((24, 16.0), (16, 10.67), (8, 5.33))
    ]

    assert reasons == [
        "Recipe q8: it needs 15.1 GB, and a program may use 17.2 GB here.",
        "Recipe small: q8 needs 13.9 GB, and a program may use 11.5 GB here. "
        "It fits after: sudo sysctl iogpu.wired_limit_mb=12900.",
        "Recipe q8: it needs 13.7 GB, and a program may use 5.7 GB here. "
        "It keeps 31 % of the experts there.",
    ]


def test_this_machine_is_asked_about_a_released_model_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For another model it is the default, without a reason."""
    cpu = Machine("AMD EPYC", "cpu", "float32", 24 * GIB, 18 * GIB)
    monkeypatch.setattr("gptoss_mlx.fit.recipe.this_machine", lambda: cpu)

    assert recipe_here("20b") == recipe_for("20b", cpu)
    assert recipe_here(None) == ("q8", "")
