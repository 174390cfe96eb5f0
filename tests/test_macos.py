from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_checkpoint import write_tiny_checkpoint
from typer.testing import CliRunner

from gptoss_mlx import macos, store
from gptoss_mlx.cli.app import app
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.errors import NoSpaceError
from gptoss_mlx.macos import (
    awake,
    exclude_from_backups,
    firewall_hint,
    free_space_hint,
    local_network_hint,
)
from gptoss_mlx.sharing.download import _check_room
from gptoss_mlx.sharing.transfer import Wanted

Program = Callable[[str, str], Path]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Puts a script in a program's place; gives the file with what it was called with."""
    for name in ("TMUTIL", "CAFFEINATE"):
        monkeypatch.setattr(macos, name, str(tmp_path / name))

    def write(name: str, script: str) -> Path:
        heard = tmp_path / f"{name}.heard"
        path = tmp_path / name
        path.write_text(f'#!/bin/sh\necho "$$ $*" >>"{heard}"\n{script}\n')
        path.chmod(0o755)
        return heard

    return write


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it is a Mac."""
    monkeypatch.setattr(macos, "sys", SimpleNamespace(platform="darwin"))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says it is none."""
    monkeypatch.setattr(macos, "sys", SimpleNamespace(platform="linux"))


def words(heard: Path) -> list[str]:
    """What a program was called with, once it is; its process id first."""
    until = time.monotonic() + 10
    while not (heard.exists() and heard.read_text().endswith("\n")):
        assert time.monotonic() < until
        time.sleep(0.01)
    return heard.read_text().split()


def runs(process: int) -> bool:
    """Tell whether there is such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.usefixtures("on_a_mac")
def test_a_folder_that_time_machine_is_to_leave_out(
    program: Program, tmp_path: Path
) -> None:
    """The system's own tool marks it, by its path."""
    heard = program("TMUTIL", "echo noise; echo noise >&2")

    assert exclude_from_backups(tmp_path)
    assert words(heard)[1:] == ["addexclusion", str(tmp_path)]


@pytest.mark.usefixtures("on_a_mac")
def test_a_time_machine_that_refuses(
    program: Program, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said, and nothing fails; so it is where the tool is missing."""
    assert not exclude_from_backups(tmp_path)
    (tmp_path / "TMUTIL").write_text("no program")

    assert not exclude_from_backups(tmp_path)
    program("TMUTIL", "echo refused >&2; exit 1")
    assert not exclude_from_backups(tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("on_a_mac")
def test_a_mac_stays_awake_until_the_end(program: Program) -> None:
    """Even if an error ends it, and at the latest when the process ends."""
    heard = program("CAFFEINATE", "exec sleep 60")
    said: list[str] = []

    def work() -> None:
        with awake():
            said.extend(words(heard))
            assert runs(int(said[0]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()

    process, *arguments = said
    assert arguments == ["-i", "-w", str(os.getpid())]
    assert not runs(int(process))


@pytest.mark.usefixtures("on_a_mac", "program")
def test_a_mac_without_caffeinate() -> None:
    """The work is done anyway."""
    done = False
    with awake():
        done = True

    assert done


@pytest.mark.usefixtures("elsewhere")
def test_another_system_is_left_alone(program: Program, tmp_path: Path) -> None:
    """Programs with these names are not started there."""
    heard = [program("TMUTIL", ""), program("CAFFEINATE", "exec sleep 60")]
    with awake():
        assert not exclude_from_backups(tmp_path)

    assert not any(file.exists() for file in heard)


@pytest.mark.usefixtures("on_a_mac")
def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Mac may have more than it tells, both for a download and for a conversion."""
    full = shutil.disk_usage("/")._replace(free=5_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)
    write_tiny_checkpoint(tmp_path / "tiny")
    missing = Wanted("config.json", 9_000, tmp_path / "part")
    for refuse in (
        lambda: _check_room(tmp_path, [missing]),
        lambda: convert_checkpoint(tmp_path / "tiny", tmp_path / "out"),
    ):
        with pytest.raises(NoSpaceError) as caught:
            refuse()
        assert caught.value.hint.startswith("Free some space, ")
        assert "Purgeable space" in caught.value.hint


@pytest.mark.usefixtures("elsewhere")
def test_a_disk_elsewhere() -> None:
    """The hint mentions only the free space."""
    assert free_space_hint("Free some space.") == "Free some space."


@pytest.mark.usefixtures("on_a_mac")
def test_an_unreachable_machine_on_a_mac() -> None:
    """The hint names the permission if the reason is what a refusal looks like."""
    hint = local_network_hint("Run it again.", "No route to host")

    assert "Privacy & Security > Local Network" in hint
    assert hint.endswith("Run it again.")
    assert local_network_hint("Run it again.", "Connection refused") == "Run it again."
    assert "incoming connections" in firewall_hint()


@pytest.mark.usefixtures("elsewhere")
def test_an_unreachable_machine_elsewhere() -> None:
    """Nothing is said of a permission."""
    assert local_network_hint("Run it again.", "No route to host") == "Run it again."
    assert firewall_hint() == ""


@pytest.mark.usefixtures("on_a_mac")
def test_models_of_the_store_are_left_out_of_backups(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they are written, and that is said; a folder elsewhere is its owner's."""
    heard = program("TMUTIL", "")
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    write_tiny_checkpoint(tmp_path / "tiny")
    said: list[str] = []
    convert_checkpoint(tmp_path / "tiny", tmp_path / "out", notice=said.append)
    assert not heard.exists()
    assert said == []

    convert_checkpoint(tmp_path / "tiny", notice=said.append)
    assert words(heard)[1:] == ["addexclusion", str(store.models_folder())]
    assert said == [
        f"Time Machine excludes {store.models_folder()}: models can be converted again."
    ]


def test_a_conversion_keeps_the_mac_awake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only while it runs."""
    heard: list[str] = []

    @contextmanager
    def awake() -> Iterator[None]:
        heard.append(f"awake, there: {(tmp_path / 'out').exists()}")
        yield
        heard.append(f"asleep, there: {(tmp_path / 'out').exists()}")

    monkeypatch.setattr(macos, "awake", awake)
    write_tiny_checkpoint(tmp_path / "tiny")
    arguments = ["convert", str(tmp_path / "tiny"), str(tmp_path / "out")]
    assert CliRunner().invoke(app, arguments).exit_code == 0

    assert heard == ["awake, there: False", "asleep, there: True"]
