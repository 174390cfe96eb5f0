"""A converted folder is copied to a disk, which may fill up, refuse, lie or disappear."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from folders import digests
from program import run_here
from shared_folder import write_shared_folder

from gptoss_mlx.errors import (
    ConvertError,
    DestinationExistsError,
    NoPermissionError,
    NoSpaceError,
    ShareError,
    StorageError,
    VerifyError,
)
from gptoss_mlx.manifest_digest import digest_of
from gptoss_mlx.sharing import disk
from gptoss_mlx.sharing.download import Step
from gptoss_mlx.sharing.transfer import write_whole

FILES = {
    "config.json": b"{}",
    "model-1.safetensors": os.urandom(300_000),
    "model-2.safetensors": os.urandom(50_000),
    "empty.txt": b"",
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a manifest, copied in small pieces, on disks that cannot clone."""
    monkeypatch.setattr(disk, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(disk, "SYNC_BYTES", 40_000)
    monkeypatch.setattr(disk, "clone_file", lambda descriptor, target: False)
    write_shared_folder(tmp_path / "tiny-q8", FILES)
    return tmp_path / "tiny-q8"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The other disk."""
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


Happening = Callable[[int], None]


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def during(task: str, happen: Happening) -> Step:
    """A step that calls ``happen`` with the bytes done, while a task runs."""

    @contextmanager
    def step(name: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: happen(done) if name.startswith(task) else None

    return step


def test_the_copy_has_every_file_that_the_manifest_lists(model: Path, place: Path) -> None:
    """And the manifest's digest; nothing else, and nothing unfinished beside it."""
    (model / "notes.txt").write_text("mine")

    copy = disk.copy_to_disk(model, place)

    assert copy.folder == place / "tiny-q8"
    assert copy.digest == digest_of(model)
    assert digests(copy.folder).keys() == {*FILES, "manifest.json", "manifest.sha256"}
    assert {n: d for n, d in digests(copy.folder).items() if n in digests(model)} == {
        n: d for n, d in digests(model).items() if n != "notes.txt"
    }
    assert names(place) == ["tiny-q8"]


def test_a_second_copy_finds_it_there(model: Path, place: Path) -> None:
    """Every byte is compared, and nothing is written."""
    disk.copy_to_disk(model, place)
    before = (place / "tiny-q8" / "config.json").stat().st_mtime_ns

    assert disk.copy_to_disk(model, place).was_there
    assert (place / "tiny-q8" / "config.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["model-1.safetensors", "manifest.json"])
def test_another_folder_of_that_name_is_refused(
    model: Path, place: Path, name: str
) -> None:
    """Also one that differs by a bit; it is left as it is."""
    folder = disk.copy_to_disk(model, place).folder
    content = bytearray((folder / name).read_bytes())
    content[70] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(DestinationExistsError):
        disk.copy_to_disk(model, place)

    assert (folder / name).read_bytes() == content


def test_a_copy_that_misses_a_file_is_refused(model: Path, place: Path) -> None:
    """It is named."""
    folder = disk.copy_to_disk(model, place).folder
    (folder / "config.json").unlink()

    with pytest.raises(DestinationExistsError, match=r"config\.json"):
        disk.copy_to_disk(model, place)


@pytest.mark.parametrize("after", range(10_000, 350_000, 50_000))
def test_an_interrupted_copy_continues(model: Path, place: Path, after: int) -> None:
    """Nothing of it is taken for a model, and what is there is not copied again."""

    def press_ctrl_c(done: int) -> None:
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        disk.copy_to_disk(model, place, step=during("Copying", press_ctrl_c))

    assert names(place) == ["tiny-q8.partial"]
    assert not (place / "tiny-q8.partial" / "manifest.json").exists()

    seen: list[int] = []
    said: list[str] = []
    disk.copy_to_disk(model, place, say=said.append, step=during("Copying", seen.append))

    assert not seen or min(seen) > after
    assert said[0].startswith("Continuing: ")
    assert names(place) == ["tiny-q8"]
    assert disk.copy_to_disk(model, place).was_there


def test_a_disk_that_fills_up(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, no model is left, and with more space the copy continues."""
    written = 0
    really = write_whole

    def fill_up(descriptor: int, piece: bytes) -> None:
        nonlocal written
        written += len(piece)
        if written > 120_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(descriptor, piece)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "write_whole", fill_up)
        with pytest.raises(NoSpaceError, match="No space left on device"):
            disk.copy_to_disk(model, place)

    assert names(place) == ["tiny-q8.partial"]
    disk.copy_to_disk(model, place)
    assert disk.copy_to_disk(model, place).was_there


def test_a_disk_that_is_too_small(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before anything is copied."""
    usage = shutil.disk_usage(place)._replace(free=350_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)

    with pytest.raises(NoSpaceError, match="free but has"):
        disk.copy_to_disk(model, place)

    assert list(place.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(model: Path, place: Path) -> None:
    """The system's own reason is told."""
    place.chmod(0o555)
    try:
        with pytest.raises(NoPermissionError):
            disk.copy_to_disk(model, place)
    finally:
        place.chmod(0o755)


def test_a_read_only_disk(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's own reason is told."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)

    with pytest.raises(NoPermissionError, match="Read-only file system"):
        disk.copy_to_disk(model, place)

    assert names(place) == []


@pytest.mark.parametrize("task", ["Copying", "Reading it back"])
def test_a_disk_that_disappears(model: Path, place: Path, task: str) -> None:
    """Files that are open can still be written, but what is not there is no copy."""

    def pull_out(done: int) -> None:
        shutil.rmtree(place, ignore_errors=True)

    with pytest.raises(StorageError, match="No such file or directory"):
        disk.copy_to_disk(model, place, step=during(task, pull_out))

    assert not place.exists()


def test_a_disk_that_is_not_connected(model: Path, tmp_path: Path) -> None:
    """No folder is made in its place, on the wrong disk."""
    with pytest.raises(StorageError, match="must be a folder that exists") as error:
        disk.copy_to_disk(model, tmp_path / "Volumes" / "USB")

    assert "Connect the disk" in error.value.hint
    assert not (tmp_path / "Volumes").exists()


def test_a_disk_that_damages_a_byte_once(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found when the copy is read back, and the file is copied again."""
    really = write_whole
    damaged: list[bytes] = []

    def damage(descriptor: int, piece: bytes) -> None:
        if not damaged:
            damaged.append(piece)
            piece = b"\0" + piece[1:]
        really(descriptor, piece)

    monkeypatch.setattr(disk, "write_whole", damage)
    said: list[str] = []
    disk.copy_to_disk(model, place, say=said.append)

    assert any("Copying again from byte 0" in line for line in said)
    assert disk.copy_to_disk(model, place).was_there


def test_a_disk_that_damages_bytes_always(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No model is left there."""
    really = write_whole
    monkeypatch.setattr(
        disk, "write_whole", lambda d, piece: really(d, b"\0\1\2" + piece[3:])
    )

    with pytest.raises(StorageError, match="other bytes than were written, twice"):
        disk.copy_to_disk(model, place)

    assert names(place) == ["tiny-q8.partial"]


def test_a_model_that_is_damaged_itself(model: Path, place: Path) -> None:
    """It is named as such, and not copied as whole."""
    content = bytearray(FILES["model-2.safetensors"])
    content[9] ^= 1
    (model / "model-2.safetensors").write_bytes(content)

    with pytest.raises(VerifyError, match=r"tiny-q8/model-2\.safetensors: must have"):
        disk.copy_to_disk(model, place)

    assert names(place) == ["tiny-q8.partial"]


def test_a_damaged_beginning_is_copied_again(model: Path, place: Path) -> None:
    """What an earlier run has written is read back like the rest."""

    def press_ctrl_c(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        disk.copy_to_disk(model, place, step=during("Copying", press_ctrl_c))
    path = place / "tiny-q8.partial" / "model-1.safetensors"
    path.write_bytes(b"\0" * path.stat().st_size)

    disk.copy_to_disk(model, place)

    assert disk.copy_to_disk(model, place).was_there


def test_a_fat_disk_takes_no_file_over_4_gib(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before anything is written."""
    monkeypatch.setattr(disk, "max_file_bytes", lambda folder: 299_999)

    with pytest.raises(ShareError, match=r"FAT.*model-1\.safetensors has 0\.3 MB"):
        disk.copy_to_disk(model, place)

    assert names(place) == []


def test_a_folder_of_somebody_else_is_left_alone(model: Path, place: Path) -> None:
    """Even if it has the partial folder's name."""
    (place / "tiny-q8.partial").mkdir()
    (place / "tiny-q8.partial" / "mine").write_text("mine")

    with pytest.raises(ConvertError, match="has no journal"):
        disk.copy_to_disk(model, place)

    assert names(place / "tiny-q8.partial") == ["mine"]


def test_a_folder_of_the_model_itself_is_refused(model: Path) -> None:
    """The copy would be a part of what is copied."""
    with pytest.raises(ShareError, match="must not be a folder of the model"):
        disk.copy_to_disk(model, model)


def test_what_can_be_cloned_needs_no_space(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read back like any copy."""

    def clone_like_apfs(descriptor: int, target: Path) -> bool:
        target.write_bytes(os.pread(descriptor, 1 << 20, 0))
        return True

    monkeypatch.setattr(disk, "clone_file", clone_like_apfs)
    usage = shutil.disk_usage(place)._replace(free=0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)

    copy = disk.copy_to_disk(model, place)

    assert copy.cloned == sum(map(len, FILES.values()))
    assert disk.copy_to_disk(model, place).was_there


def test_the_command_prints_where_the_copy_is(model: Path, place: Path) -> None:
    """And its digest; a second time it says that it is there."""
    first = run_here("share", str(model), "--to", str(place))
    second = run_here("share", str(model), "--to", str(place))
    name = f"tiny-q8@{digest_of(model)[:32]}"

    assert (first.returncode, first.stdout) == (0, f"{place}/tiny-q8\n")
    assert f"Every byte was read back and compared: {name}\n" in first.stderr
    assert (second.returncode, second.stdout) == (0, f"{place}/tiny-q8\n")
    assert f"Already there, and every byte is as in the model: {name}\n" in second.stderr


def test_ctrl_c_tells_how_to_continue(
    model: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(disk, "copy_to_disk", interrupted)

    done = run_here("share", str(model), "--to", str(place))

    assert done.returncode == 130
    assert done.stderr == (f"Stopped. To continue: gptoss-mlx share {model} --to {place}\n")


def test_a_disk_has_no_port(model: Path, place: Path) -> None:
    """It is a mistake in the command."""
    done = run_here("share", str(model), "--to", str(place), "--port", "8765")

    assert done.returncode == 2
