from __future__ import annotations

import fcntl
import json
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from evidence import Note
from killed import kill_at_random
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.demo import folder as demo
from gptoss_mlx.demo.folder import open_demo
from gptoss_mlx.errors import DataError, ModelNotFoundError, NoCheckpointError
from gptoss_mlx.model_choice import open_model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without models."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Note what is unpacked, and make a folder of one file in place of a conversion."""
    unpacked: list[Path] = []

    def convert(source: Path, destination: Path, *, recipe: str) -> None:
        assert recipe == "exact"
        destination.mkdir()
        manifest = {"source": {"folder": source.name}}
        (destination / "manifest.json").write_text(json.dumps(manifest))

    def opens(folder: Path) -> SimpleNamespace:
        if (folder / "damage").exists():
            raise NoCheckpointError("damaged")
        return SimpleNamespace(folder=folder)

    monkeypatch.setattr(demo, "open_checkpoint", opens)
    monkeypatch.setattr(demo, "unpack_demo", unpacked.append)
    monkeypatch.setattr("gptoss_mlx.convert.pipeline.convert_checkpoint", convert)
    return unpacked


def make_demo(home: Path, source: str | None) -> Path:
    """Put a demo model there that was made from the folder ``source``."""
    folder = home / "models" / "demo"
    folder.mkdir(parents=True)
    if source is not None:
        manifest = {"source": {"folder": source}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "old").write_text("")
    return folder


def test_the_demo_is_converted_like_any_model(own_home: Path) -> None:
    """What comes out verifies; it is made once, and nothing else is left behind."""
    said: list[str] = []
    folder = open_model("demo", said.append).folder
    made = folder.stat().st_ino

    assert verify_checkpoint(folder).tensors > 0
    assert len(said) <= 1
    assert open_model("demo", said.append).folder.stat().st_ino == made
    assert len(said) <= 1
    assert [path.name for path in folder.parent.iterdir() if "demo" in path.name] == [
        "demo"
    ]


def test_making_the_demo_is_said_once(home: Path, built: list[Path]) -> None:
    """It takes more than a second; the second time it is there."""
    said: list[str] = []
    open_demo(said.append)
    open_demo(said.append)

    assert len(said) == len(built) == 1


def test_a_demo_of_an_older_package_is_replaced(home: Path, built: list[Path]) -> None:
    """Its manifest names another demo than the one in the package."""
    folder = make_demo(home, demo.SOURCE_PREFIX + "0123")

    assert open_demo(print).folder == folder
    assert len(built) == 1
    assert not (folder / "old").exists()
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize("source", [None, "my-own-model"])
def test_a_folder_of_the_user_is_left_alone(
    home: Path, built: list[Path], source: str | None
) -> None:
    """A model that the package did not make may have that name too."""
    folder = make_demo(home, source)

    assert open_demo(print).folder == folder
    assert built == []
    assert (folder / "old").exists()


def test_a_damaged_demo_is_made_again(home: Path, built: list[Path]) -> None:
    """What the package made and cannot open any more, it replaces."""
    folder = make_demo(home, demo.SOURCE)
    (folder / "damage").write_text("")

    assert open_demo(print).folder == folder
    assert len(built) == 1
    assert not (folder / "damage").exists()


def test_an_empty_demo_folder_is_filled(home: Path, built: list[Path]) -> None:
    """Nothing is lost with it."""
    (home / "models" / "demo").mkdir(parents=True)

    assert (open_demo(print).folder / "manifest.json").exists()
    assert len(built) == 1


def test_a_damaged_folder_of_the_user_is_left_alone(home: Path, built: list[Path]) -> None:
    """The hint says how to get the demo model all the same."""
    folder = make_demo(home, "my-own-model")
    (folder / "damage").write_text("")

    with pytest.raises(NoCheckpointError) as caught:
        open_demo(print)
    assert caught.value.hint == (
        f"Move that folder away, and the demo model is made again: {folder}"
    )
    assert (folder / "old").exists()


def test_a_quicker_process_wins(
    home: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has put there in the meantime is used."""
    build = demo._build

    def slowly(scratch: Path) -> None:
        build(scratch)
        make_demo(home, demo.SOURCE)

    monkeypatch.setattr(demo, "_build", slowly)

    assert (open_demo(print).folder / "old").exists()


def test_nothing_is_left_of_a_demo_that_cannot_be_made(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error leaves no folder that looks like a model."""

    def fail(folder: Path) -> None:
        folder.mkdir()
        raise DataError("no")

    monkeypatch.setattr(demo, "unpack_demo", fail)
    with pytest.raises(DataError):
        open_demo(print)

    assert list((home / "models").iterdir()) == []


def test_what_a_killed_process_left_is_removed(home: Path, built: list[Path]) -> None:
    """Also where the demo is there already; a process that still runs keeps its own."""
    models = home / "models"
    (models / ".demo-0123" / "demo").mkdir(parents=True)
    (models / ".demo.lock").touch()
    open_demo(print)
    assert [path.name for path in models.iterdir()] == ["demo"]

    (models / ".demo-4567").mkdir()
    with (models / ".demo.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        open_demo(print)
        assert (models / ".demo-4567").exists()
    open_demo(print)
    assert [path.name for path in models.iterdir()] == ["demo"]
    assert len(built) == 1


def test_two_processes_make_it_once(
    home: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits for the first, and takes what that has made."""
    build = demo._build

    def slowly(scratch: Path) -> None:
        time.sleep(0.3)
        build(scratch)

    monkeypatch.setattr(demo, "_build", slowly)
    threads = [threading.Thread(target=open_demo, args=(print,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(built) == 1
    assert [path.name for path in (home / "models").iterdir()] == ["demo"]


@pytest.mark.slow
def test_killed_at_any_moment_then_run_again(home: Path, note: Note) -> None:
    """20 times: the demo is whole, and nothing else is there."""
    models = home / "models"

    def run_again() -> bool:
        unfinished = not (models / "demo").exists()
        folder = open_demo(lambda text: None).folder
        assert verify_checkpoint(folder).tensors > 0
        assert [path.name for path in models.iterdir()] == ["demo"]
        shutil.rmtree(models)
        return unfinished

    killed = kill_at_random(
        "import mlx.core as mx\n"
        "import gptoss_mlx.convert.pipeline\n"
        "from gptoss_mlx.demo.folder import open_demo",
        "open_demo(lambda text: None)",
        times=20,
        then=run_again,
        seed=0,
    )
    note("killed_demos", killed)
    assert killed == 20


def test_other_names_are_the_store_s(home: Path) -> None:
    """A folder is found by its path, and nothing by a name that is not there."""
    write_tiny_checkpoint(home)
    assert open_model(str(home), print).folder == home
    with pytest.raises(ModelNotFoundError):
        open_model("20b", print)
