"""Conversions that remove their source on the way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from evidence import Note
from folders import digests
from killed import kill_at_random
from small_conversion import stop_in_file

from gptoss_mlx.convert import consume, pipeline, source_files
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import (
    CheckpointError,
    ConvertError,
    DestinationExistsError,
    NoPermissionError,
    NoSpaceError,
)
from gptoss_mlx.manifest import read_manifest

FILES = [f"model-0000{i}-of-00002.safetensors" for i in range(3)]
# A file of the output for each file of the source.
SHARD_BYTES = 600_000
REVISION = "0" * 40

Make = Callable[[], Path]


def convert(released: Path, out: Path, **options: Any) -> None:
    """Convert by ``q8``, and remove the source, unless told otherwise."""
    chosen = {"recipe": "q8", "shard_bytes": SHARD_BYTES, "consume": True, **options}
    convert_checkpoint(released, out, **chosen)


def put_in_cache(folder: Path, snapshot: Path) -> None:
    """Put a checkpoint where huggingface_hub has it: blobs, and links to them."""
    blobs = snapshot.parent.parent / "blobs"
    snapshot.mkdir(parents=True, exist_ok=True)
    blobs.mkdir(exist_ok=True)
    for path in folder.iterdir():
        shutil.copy2(path, blobs / f"blob-{path.name}")
        (snapshot / path.name).unlink(missing_ok=True)
        (snapshot / path.name).symlink_to(f"../../blobs/blob-{path.name}")


@pytest.fixture(params=["folder", "cache"])
def make(request: pytest.FixtureRequest, sharded: Path, tmp_path: Path) -> Make:
    """Makes a source to be removed, again and again: a folder, or the Hub's cache."""

    def make_folder() -> Path:
        folder = tmp_path / "released" / "tiny"
        shutil.copytree(sharded, folder, dirs_exist_ok=True)
        return folder

    def make_cache() -> Path:
        snapshot = tmp_path / "models--ada--tiny" / "snapshots" / REVISION
        put_in_cache(sharded, snapshot)
        return snapshot

    return make_folder if request.param == "folder" else make_cache


@pytest.fixture
def released(make: Make) -> Path:
    """A source to be removed."""
    return make()


def shards_of(released: Path) -> list[str]:
    """The names of the safetensors files that are left, in the Hub's ``blobs`` too."""
    places = [released, released.parent.parent / "blobs"]
    return [
        path.name for place in places for path in sorted(place.glob("*model-*.safetensors"))
    ]


@pytest.fixture
def whole(released: Path, tmp_path: Path) -> dict[str, str]:
    """What a conversion makes that keeps its source."""
    convert(released, tmp_path / "kept", consume=False)
    return digests(tmp_path / "kept")


def test_the_files_go_one_by_one(
    released: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    """Each once its output is there; the small files stay, the folder is the same."""
    seen: list[int] = []

    def progress(done: int, total: int) -> None:
        seen.append(len(list(released.glob("*.safetensors"))))

    convert(released, tmp_path / "out", progress=progress)

    assert sorted(set(seen), reverse=True) == [3, 2, 1]
    assert shards_of(released) == []
    assert (released / "config.json").exists()
    assert digests(tmp_path / "out") == whole
    recorded = read_manifest(tmp_path / "out").source_files
    assert all(entry.sha256 is not None for entry in recorded.values())
    verify_checkpoint(tmp_path / "out")


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("consumes", [True, False])
def test_interrupted_then_continued_without_the_removed_files(
    released: Path, tmp_path: Path, whole: dict[str, str], number: int, consumes: bool
) -> None:
    """Whether or not the second run removes files, the folder is the same."""
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    with pytest.raises(KeyboardInterrupt):
        convert(released, out, progress=stop_in_file(number, partial))
    assert len(list(released.glob("*.safetensors"))) == 3 - number
    convert(released, out, consume=consumes)

    assert digests(out) == whole
    left = 0 if consumes else 3 - number
    assert len(list(released.glob("*.safetensors"))) == left


def test_interrupted_before_and_during_a_removal(
    released: Path, tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run does it, and goes on."""
    out = tmp_path / "out"
    remove = Path.unlink
    left: list[str] = []

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".safetensors" and not left:
            raise KeyboardInterrupt
        if path.suffix == ".safetensors":
            left.pop()
        remove(path, missing_ok=missing_ok)

    for calls in (0, 1):
        left += ["a call"] * calls
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", interrupted)
            with pytest.raises(KeyboardInterrupt):
                convert(released, out)
    convert(released, out)

    assert shards_of(released) == []
    assert digests(out) == whole


def interrupted_after_two(released: Path, out: Path) -> None:
    """Begin a conversion, and stop it when two of the three files are removed."""
    stop = stop_in_file(2, out.with_name("out.partial"))
    with pytest.raises(KeyboardInterrupt):
        convert(released, out, progress=stop)


def test_another_recipe_does_not_start_over(
    released: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    """The unfinished folder has the only copy: it is left as it is."""
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    interrupted_after_two(released, out)
    before = digests(partial, "*.safetensors")
    with pytest.raises(ConvertError, match="must be continued with the source, recipe and"):
        convert(released, out, recipe="exact")
    with pytest.raises(ConvertError, match="must be continued with the source, recipe and"):
        convert(released, out, shard_bytes=10**9)

    assert digests(partial, "*.safetensors") == before
    convert(released, out)
    assert digests(out) == whole


def test_another_source_does_not_start_over(
    released: Path, sharded: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    """A whole one, converted to the same folder: what is there is left as it is."""
    interrupted_after_two(released, tmp_path / "out")
    with pytest.raises(ConvertError, match="must be continued with the source, recipe and"):
        convert(sharded, tmp_path / "out", consume=False)
    convert(released, tmp_path / "out")

    assert digests(tmp_path / "out") == whole


def test_a_removed_file_that_was_fetched_again(
    make: Make, tmp_path: Path, whole: dict[str, str]
) -> None:
    """The source is whole, but another one: the conversion starts over."""
    released = make()
    interrupted_after_two(released, tmp_path / "out")
    for path in released.glob("*.safetensors"):
        path.rename(tmp_path / path.name)  # kept, so that its inode is not used again
    make()
    heard: list[str] = []
    convert(released, tmp_path / "out", notice=heard.append)

    assert heard[0].startswith("Starting over: ")
    assert digests(tmp_path / "out") == whole


@pytest.mark.parametrize("damage", ["shorter", "gone"])
def test_a_written_file_that_is_damaged(
    released: Path, tmp_path: Path, damage: str
) -> None:
    """It cannot be written again: that is said, and nothing is removed."""
    partial = tmp_path / "out.partial"
    interrupted_after_two(released, tmp_path / "out")
    first, second, *_ = sorted(partial.glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-1]) if damage == "shorter" else first.unlink()
    with pytest.raises(ConvertError) as caught:
        convert(released, tmp_path / "out")

    assert str(caught.value) == (
        f"{partial} must have {first.name} whole, but has not, and {FILES[0]}, "
        "which it was made of, was removed."
    )
    assert second.exists()


@pytest.mark.parametrize("content", ["", "{}", '{"key": 1, "files": {}, "removed": 5}'])
def test_a_journal_that_is_damaged(released: Path, tmp_path: Path, content: str) -> None:
    """The removed files are missing then: nothing of what was written is lost."""
    partial = tmp_path / "out.partial"
    interrupted_after_two(released, tmp_path / "out")
    (partial / ".journal.json").write_text(content)
    before = digests(partial, "*.safetensors")
    with pytest.raises(CheckpointError, match="there is no such file"):
        convert(released, tmp_path / "out")

    assert digests(partial, "*.safetensors") == before


def test_a_source_without_an_index(
    make: Make, tmp_path: Path, whole: dict[str, str]
) -> None:
    """The removed files are known all the same."""
    released = make()
    (released / "model.safetensors.index.json").unlink()
    interrupted_after_two(released, tmp_path / "out")
    convert(released, tmp_path / "out")

    assert digests(tmp_path / "out") == whole


def test_openais_layout(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its one file becomes several, and goes when the last of them is there."""
    folder = tmp_path / "released"
    shutil.copytree(source, folder)
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    with pytest.raises(KeyboardInterrupt):
        convert(folder / "original", out, progress=stop_in_file(1, partial))
    assert (folder / "original" / "model.safetensors").exists()
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_write_small_files", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(folder / "original", out)
    assert not (folder / "original" / "model.safetensors").exists()
    assert (folder / "model.safetensors").exists()
    convert(folder / "original", out)

    assert verify_checkpoint(out, folder).requantized == 54


def stop(*arguments: object) -> None:
    """Press Ctrl-C."""
    raise KeyboardInterrupt


def test_a_source_that_changes(released: Path, tmp_path: Path) -> None:
    """Nothing is removed after that, and nothing of what is written is lost."""
    last = released / FILES[2]

    def progress(done: int, total: int) -> None:
        if len(list(released.glob("*.safetensors"))) == 2:
            last.write_bytes(last.read_bytes())
            os.utime(last, ns=(0, 0))

    partial = tmp_path / "out.partial"
    with pytest.raises(ConvertError, match="changed while it was converted"):
        convert(released, tmp_path / "out", progress=progress)

    assert len(list(released.glob("*.safetensors"))) == 2
    assert len(list(partial.glob("*.safetensors"))) == 2


def test_a_source_that_changes_after_some_files_were_removed(
    released: Path, tmp_path: Path
) -> None:
    """By a run that removes none: what is written is the only copy, and stays."""
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    interrupted_after_two(released, out)

    def progress(done: int, total: int) -> None:
        if done == total:
            (released / "LICENSE").write_text("another")

    with pytest.raises(ConvertError, match="LICENSE changed while it was converted"):
        convert(released, out, progress=progress, consume=False)

    assert len(list(partial.glob("*.safetensors"))) == 3


def test_the_room_that_it_needs(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the result less what is removed, and not that of the whole result."""
    for recipe, needed in (("exact", 1.6), ("q8", 1.4)):
        usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        with pytest.raises(NoSpaceError) as caught:
            convert(released, tmp_path / "out", recipe=recipe)
        assert f"must have {needed} MB free" in str(caught.value)


def test_headers_that_are_too_large(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later run could do without the files."""
    monkeypatch.setattr(source_files, "MAX_HEADERS_BYTES", 5_000)
    with pytest.raises(ConvertError, match="they are too large"):
        convert(released, tmp_path / "out")
    assert len(list(released.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("kind", ["link", "hard link", "revision", "not writable"])
def test_files_that_are_not_the_sources_own(
    sharded: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are refused before anything is written or removed."""
    released = tmp_path / "models--a--b" / "snapshots" / REVISION
    put_in_cache(sharded, released)
    path, other = released / FILES[1], tmp_path / "other"
    if kind == "link":
        shutil.copy(sharded / FILES[1], other)
        path.unlink()
        path.symlink_to(other)
    elif kind == "hard link":
        os.link(path.resolve(), other)
    elif kind == "revision":
        (released.parent / ("1" * 40)).mkdir()
        other = released.parent / ("1" * 40) / FILES[1]
        other.symlink_to(f"../../blobs/blob-{FILES[1]}")
    else:
        monkeypatch.setattr(consume.os, "access", lambda path, mode: False)
    before = digests(released)
    with pytest.raises((ConvertError, NoPermissionError)) as caught:
        convert(released, tmp_path / "out")
    found = {
        "link": f"{path} is a link to {other}.",
        "hard link": f"{path} has another name, so that removing it frees nothing.",
        "revision": f"{path} is also {other}.",
        "not writable": "Permission denied.",
    }

    assert str(caught.value).endswith(found[kind])
    assert digests(released) == before
    assert not any(tmp_path.glob("out*"))


def test_a_journal_of_the_right_form(released: Path, tmp_path: Path) -> None:
    """It names what was removed before that happens."""
    interrupted_after_two(released, tmp_path / "out")
    journal = json.loads((tmp_path / "out.partial" / ".journal.json").read_text())

    assert journal["removed"] == FILES[:2]
    assert sorted(journal["headers"]) == FILES


@pytest.mark.slow
def test_killed_at_any_moment_then_continued_without_a_source(
    make: Make, tmp_path: Path, whole: dict[str, str], note: Note
) -> None:
    """10 times each: the source or the result is there, and the result is the same."""
    released, out = make(), tmp_path / "out"

    def run_again() -> bool:
        unfinished = not out.exists()
        with nullcontext() if unfinished else pytest.raises(DestinationExistsError):
            convert(released, out)
        assert digests(out) == whole
        assert shards_of(released) == []
        assert not any(tmp_path.glob("*.partial"))
        shutil.rmtree(out)
        make()
        return unfinished

    killed = kill_at_random(
        "from pathlib import Path\n"
        "import mlx.core as mx\n"
        "from gptoss_mlx.convert.pipeline import convert_checkpoint",
        f"convert_checkpoint(Path({str(released)!r}), Path({str(out)!r}), recipe='q8', "
        f"shard_bytes={SHARD_BYTES}, consume=True)",
        times=10,
        then=run_again,
        seed=1,
    )
    note("killed_consumptions", killed)
    assert killed == 10
