from __future__ import annotations

import pytest

from gptoss_mlx import device, model_choice, store
from gptoss_mlx.cli import first_model
from gptoss_mlx.model_choice import best_model, model_folder, plan_for
from gptoss_mlx.store import StoredModel

GB = 1_000_000_000


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that computes in bf16, whose limit tests set."""
    import mlx.core as mx

    monkeypatch.setattr(model_choice, "compute_dtype", lambda: mx.bfloat16)
    return monkeypatch


def allow(patch: pytest.MonkeyPatch, gigabytes: float) -> None:
    """Let a program use so much."""
    for module in (model_choice, device):
        patch.setattr(module, "memory_limit_bytes", lambda: int(gigabytes * GB))


def put(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Say that these models are in the store, named like 20b-q8."""
    models = [
        StoredModel(name, store.models_folder() / name, size=size, recipe=recipe)
        for name in names
        for size, recipe in [name.split("-")]
    ]
    patch.setattr(store, "models", lambda: models)


@pytest.mark.parametrize(
    ("gigabytes", "chosen"), [(96, "120b-q8"), (24, "20b-q8"), (14, "20b-q8")]
)
def test_the_best_that_fits_is_chosen(
    limit: pytest.MonkeyPatch, gigabytes: float, chosen: str
) -> None:
    """The larger model, where there is room for it."""
    put(limit, "120b-q8", "20b-exact", "20b-q8")
    allow(limit, gigabytes)
    model, reason = best_model()

    assert model is not None
    assert (model.name, reason) == (chosen, "")


def test_a_recipe_that_fits_is_better_than_one_that_does_not(
    limit: pytest.MonkeyPatch,
) -> None:
    """Although the other is preferred where both fit."""
    put(limit, "20b-exact", "20b-q8")
    limit.setattr(store, "_PREFERRED", ("exact", "q8"))
    allow(limit, 14)
    model, _ = best_model()

    assert model is not None
    assert model.name == "20b-q8"


def test_none_that_fits_is_said_with_its_numbers(limit: pytest.MonkeyPatch) -> None:
    """The demo opens instead, and the line says how to try the model all the same."""
    put(limit, "20b-q8")
    allow(limit, 10.7)
    said: list[str] = []
    limit.setattr(model_choice, "demo_folder", lambda say: "demo")
    needed = plan_for("20b", "q8").total_bytes / GB

    assert best_model()[0] is None
    assert model_folder(None, said.append) == "demo"  # type: ignore[comparison-overlap]
    assert said == [
        f"20b-q8 needs {needed:.1f} GB, and a program may use 10.7 GB here: to try it all "
        "the same, name it. The demo model answers, a miniature."
    ]


def test_where_none_is_the_command_to_get_one_is_said(limit: pytest.MonkeyPatch) -> None:
    """One line, and the demo model opens."""
    put(limit)
    said: list[str] = []
    limit.setattr(model_choice, "demo_folder", lambda say: "demo")
    model_folder(None, said.append)

    assert said == [
        "No gpt-oss model is here yet: gptoss-mlx download 20b. "
        "The demo model answers, a miniature."
    ]


@pytest.mark.parametrize(
    ("gigabytes", "size", "fits"),
    [(96, "120b", ("fits", "fits")), (20, "20b", ("not", "fits")), (8, None, ("not",) * 2)],
)
def test_the_offer_is_what_this_machine_can_hold(
    limit: pytest.MonkeyPatch, gigabytes: float, size: str | None, fits: tuple[str, ...]
) -> None:
    """Both models with what they need, and the larger one that fits."""
    put(limit)
    allow(limit, gigabytes)
    made = first_model.make_offer()

    assert made.size == size
    assert f"may use {gigabytes:.1f} GB" in made.lines[0]
    for line, name, word in zip(made.lines[1:], ("120b", "20b"), fits, strict=True):
        assert line.startswith(f"gpt-oss-{name} needs ")
        assert ("does not fit" in line) is (word == "not")
    assert (made.nbytes > 13 * GB) is (size is not None)


@pytest.mark.parametrize(
    ("names", "offline", "expected"),
    [
        (["lo", "eth0"], "", True),
        (["lo", "eth0"], "1", False),
        (["lo"], "", False),
        (["lo0", "en0"], "0", True),
    ],
)
def test_a_machine_without_a_network_is_not_offered_one(
    monkeypatch: pytest.MonkeyPatch, names: list[str], offline: str, expected: bool
) -> None:
    """Known from its interfaces, or told by HF_HUB_OFFLINE; nothing is asked."""
    monkeypatch.setattr("socket.if_nameindex", lambda: list(enumerate(names)))
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)

    assert first_model.may_have_network() is expected
