from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_mlx import store
from gptoss_mlx.cli.first_model import Choice, choose_model
from gptoss_mlx.device import Machine
from gptoss_mlx.errors import DownloadError
from gptoss_mlx.store import StoredModel

GB = 1_000_000_000
MACHINE = Machine("Apple M4", "gpu", "bfloat16", 32 * GB, 24 * GB)
SMALL = Machine("Apple M1", "gpu", "bfloat16", 8 * GB, 3 * GB)


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is here yet."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))


def answer(patch: pytest.MonkeyPatch, typed: str | bool) -> list[str]:
    """Type this at the question; return where questions are noted."""
    asked: list[str] = []

    def prompt(question: str, **options: object) -> str:
        assert options == {"default": "", "show_default": False, "err": True}
        asked.append(question)
        return typed if isinstance(typed, str) else "y" if typed else ""

    patch.setattr("typer.prompt", prompt)
    return asked


def never(model: str, recipe: str | None, *, patience_s: float) -> Path:
    """What downloads where nothing is to be downloaded."""
    raise AssertionError


def test_a_user_without_a_model_is_offered_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stderr lists which models fit; no is the default, and opens the demo model."""
    asked = answer(monkeypatch, False)

    assert choose_model(MACHINE, never, may_offer=True).model == "demo"
    assert asked == ["Download gpt-oss-20b now (13.8 GB)? [y/N]"]
    told = capsys.readouterr()
    assert told.out == ""
    assert "gpt-oss-120b needs" in told.err
    assert "Until then the built-in demo model answers" in told.err


def test_yes_downloads_and_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default recipe."""
    answer(monkeypatch, True)
    wanted: list[tuple[str, str | None]] = []

    def download(model: str, recipe: str | None, *, patience_s: float) -> Path:
        wanted.append((model, recipe))
        return Path("folder")

    assert choose_model(MACHINE, download, may_offer=True).model == Path("folder")
    assert wanted == [("20b", None)]


def test_a_download_that_fails_opens_the_demo_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says why, and what goes on; nobody waits over 5 s for the Hub."""
    answer(monkeypatch, True)

    def download(model: str, recipe: str | None, *, patience_s: float) -> Path:
        assert patience_s < 5
        raise DownloadError("There is no network.", hint="Run it again: gptoss-mlx x")

    assert choose_model(MACHINE, download, may_offer=True).model == "demo"
    assert capsys.readouterr().err.splitlines()[-1] == (
        "There is no network. Run it again: gptoss-mlx x. Using the built-in demo model."
    )


def test_where_neither_runs_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The estimates are printed anyway."""
    asked = answer(monkeypatch, True)

    assert choose_model(SMALL, never, may_offer=True).model == "demo"
    assert asked == []
    assert capsys.readouterr().err.count("does not fit") == 2


def test_what_can_be_streamed_is_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Mac of 8 GB runs 20b with a third of its experts, and is told how fast."""
    asked = answer(monkeypatch, False)
    mac = Machine("Apple M2", "gpu", "bfloat16", 8 << 30, 5_726_623_061)

    choose_model(mac, never, may_offer=True)
    assert asked == ["Download gpt-oss-20b now (13.8 GB)? [y/N]"]
    lines = capsys.readouterr().err.splitlines()
    assert "it runs with 4 % of its experts in memory" in lines[1]
    assert lines[2].endswith(
        "it runs with 31 % of its experts in memory, at about 9.1 tokens/s."
    )


def test_without_a_terminal_or_a_network_nothing_is_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo model opens, and stderr says why, and how to get another."""
    asked = answer(monkeypatch, True)

    assert choose_model(MACHINE, never, may_offer=False).model == "demo"
    assert asked == []
    assert capsys.readouterr().err == (
        "No gpt-oss model is downloaded yet: gptoss-mlx download 20b. "
        "Using the built-in demo model.\n"
    )


def test_a_model_that_is_here_is_opened(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is asked, nothing is said, and the store is listed once."""
    listed: list[str] = []
    here = StoredModel("gpt-oss-20b-q8", Path("there"), recipe="q8", size="20b")

    def models() -> list[StoredModel]:
        listed.append("once")
        return [here]

    monkeypatch.setattr(store, "models", models)
    asked = answer(monkeypatch, True)

    assert choose_model(MACHINE, never, may_offer=True).model == Path("there")
    assert asked == []
    assert capsys.readouterr().err == ""
    assert listed == ["once"]


def test_a_mac_of_16_gb_is_told_how_20b_fits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a raised limit that leaves macOS enough; 120b does not fit with any limit."""
    mac = Machine("Apple M2", "gpu", "bfloat16", 16 << 30, 11_453_251_584)

    asked = answer(monkeypatch, False)

    choose_model(mac, never, may_offer=True)
    assert asked == ["Download gpt-oss-20b now (13.8 GB)? [y/N]"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[1].startswith("gpt-oss-120b needs")
    assert "it runs with 13 % of its experts" in lines[1]
    assert lines[2].endswith("sudo sysctl iogpu.wired_limit_mb=12900")


def test_a_question_typed_at_the_offer_is_the_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The demo model answers it; nobody has said no."""
    asked = answer(monkeypatch, " What is gpt-oss?")

    assert choose_model(MACHINE, never, may_offer=True) == Choice(
        "demo", question="What is gpt-oss?"
    )
    choose_model(MACHINE, never, may_offer=True)
    assert len(asked) == 2


@pytest.mark.parametrize("typed", ["", "n", "No", "NO."])
def test_a_no_is_remembered(
    typed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The output tells how to be asked again, and how to download without a question."""
    asked = answer(monkeypatch, typed)
    assert choose_model(MACHINE, never, may_offer=True) == Choice("demo")
    (file,) = tmp_path.iterdir()
    told = capsys.readouterr().err
    assert f"To be asked again, remove {file}." in told
    assert "gptoss-mlx download 20b" in told
    assert choose_model(MACHINE, never, may_offer=True) == Choice("demo")
    assert len(asked) == 1
    assert "gptoss-mlx download 20b" in capsys.readouterr().err

    file.unlink()
    choose_model(MACHINE, never, may_offer=True)

    assert len(asked) == 2


def test_a_no_that_cannot_be_remembered_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The demo model opens anyway."""
    answer(monkeypatch, "n")
    (tmp_path / "no-download-offer").mkdir()
    monkeypatch.setattr(Path, "touch", _refuse)

    assert choose_model(MACHINE, never, may_offer=True) == Choice("demo")
    assert "You will be asked again: " in capsys.readouterr().err


def _refuse(path: Path) -> None:
    raise PermissionError(13, "Permission denied")
