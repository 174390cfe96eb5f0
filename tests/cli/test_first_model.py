from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_mlx import device, model_choice
from gptoss_mlx.cli import download, first_model
from gptoss_mlx.store import StoredModel


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A terminal with a network, on a machine for gpt-oss-20b that has no model yet."""
    monkeypatch.setattr(first_model, "_at_terminal", lambda: True)
    monkeypatch.setattr(first_model, "may_have_network", lambda: True)
    monkeypatch.setattr(model_choice, "best_model", lambda: (None, ""))
    for module in (model_choice, device):
        monkeypatch.setattr(module, "memory_limit_bytes", lambda: 24_000_000_000)
    return monkeypatch


def answer(patch: pytest.MonkeyPatch, yes: bool) -> list[str]:
    """Answer the question so; return where questions are noted."""
    asked: list[str] = []

    def confirm(question: str, **options: object) -> bool:
        assert options == {"default": False, "err": True}
        asked.append(question)
        return yes

    patch.setattr("typer.confirm", confirm)
    return asked


def test_a_user_without_a_model_is_offered_one(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fits is said on stderr; no is the default, and opens the demo model."""
    asked = answer(terminal, False)

    assert first_model.choose_model() == "demo"
    assert asked == ["Download gpt-oss-20b now (13.8 GB)?"]
    told = capsys.readouterr()
    assert told.out == ""
    assert "gpt-oss-120b needs" in told.err
    assert "The demo model is here at once" in told.err


def test_yes_downloads_and_opens_it(terminal: pytest.MonkeyPatch) -> None:
    """By the default recipe."""
    answer(terminal, True)
    wanted: list[tuple[str, str]] = []

    def pretend(model: str, recipe: str) -> str:
        wanted.append((model, recipe))
        return "folder"

    terminal.setattr(download, "download_and_convert", pretend)

    assert first_model.choose_model() == "folder"
    assert wanted == [("20b", "q8")]


def test_where_neither_fits_nothing_is_asked(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are said all the same."""
    asked = answer(terminal, True)
    for module in (model_choice, device):
        terminal.setattr(module, "memory_limit_bytes", lambda: 4_000_000_000)

    assert first_model.choose_model() is None
    assert asked == []
    assert capsys.readouterr().err.count("does not fit") == 2


@pytest.mark.parametrize("missing", ["terminal", "network", "need"])
def test_nothing_is_offered_where_it_is_of_no_use(
    terminal: pytest.MonkeyPatch, missing: str
) -> None:
    """No terminal to answer at, no network, or a model that is here already."""
    asked = answer(terminal, True)
    if missing == "terminal":
        terminal.setattr(first_model, "_at_terminal", lambda: False)
    if missing == "network":
        terminal.setattr(first_model, "may_have_network", lambda: False)
    if missing == "need":
        here = StoredModel("gpt-oss-20b-q8", Path("there"))
        terminal.setattr(model_choice, "best_model", lambda: (here, ""))

    assert first_model.choose_model() is None
    assert asked == []
