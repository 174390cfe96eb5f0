from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_mlx.home import home


def test_home_is_in_the_users_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a setting, ``~/.gptoss-mlx``; an empty one counts as none."""
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("GPTOSS_MLX_HOME")
    assert home() == Path("/home/ada/.gptoss-mlx")

    monkeypatch.setenv("GPTOSS_MLX_HOME", "")
    assert home() == Path("/home/ada/.gptoss-mlx")


def test_home_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPTOSS_MLX_HOME names another folder, ``~`` included."""
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("GPTOSS_MLX_HOME", "~/models of mine")

    assert home() == Path("/home/ada/models of mine")


def test_an_unknown_user_after_a_tilde_is_a_name_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pathlib would raise a bare RuntimeError."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", "~nosuchuser/x")

    assert home() == Path("~nosuchuser/x")
