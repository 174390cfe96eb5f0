"""Conversions that are interrupted and continued."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import mlx.core as mx
import pytest
from evidence import Note
from folders import digests
from killed import kill_at_random
from small_conversion import SHARD_BYTES, Disk, convert, mlx_lm_logits, stop_in_file
from tiny_checkpoint import read_tensors, write_safetensors

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.errors import (
    DestinationExistsError,
    NoCheckpointError,
    NoSpaceError,
    UnfinishedError,
)


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_interrupted_anywhere_then_continued(
    source: Path, recipe: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """After Ctrl-C in any file, the same call ends with the uninterrupted folder."""
    whole: Path = request.getfixturevalue(recipe)
    files = len(list(whole.glob("*.safetensors")))
    assert files >= 3
    for number in range(files):
        folder = tmp_path / str(number)
        partial = tmp_path / f"{number}.partial"
        notices: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            convert(source, folder, recipe=recipe, progress=stop_in_file(number, partial))
        assert not folder.exists()
        assert len(list(partial.glob("*.safetensors"))) == number + 1
        convert(source, folder, recipe=recipe, notice=notices.append)

        said = f"Continuing. Files already written: {number}."
        assert notices == ([said] if number else [])
        assert digests(folder) == digests(whole)
        assert not partial.exists()


def test_what_was_written_is_not_written_again(source: Path, tmp_path: Path) -> None:
    """The files that were whole keep their time stamps, and progress starts there."""
    folder, partial = tmp_path / "out", tmp_path / "out.partial"
    with pytest.raises(KeyboardInterrupt):
        convert(source, folder, progress=stop_in_file(2, partial))
    first, second, _ = sorted(partial.glob("*.safetensors"))
    before = [path.stat().st_mtime_ns for path in (first, second)]
    seen: list[tuple[int, int]] = []
    done = convert_checkpoint(
        source,
        folder,
        shard_bytes=SHARD_BYTES,
        progress=lambda *counts: seen.append(counts),
    )

    assert [(folder / path.name).stat().st_mtime_ns for path in (first, second)] == before
    assert done.resumed_bytes == seen[0][0] > 0
    assert seen[-1] == (done.nbytes, done.nbytes)


def test_a_killed_process_is_continued(source: Path, q8: Path, tmp_path: Path) -> None:
    """After SIGKILL, which nothing can handle, the same call ends well."""
    program = f"""
import os, signal
from pathlib import Path
from gptoss_mlx.convert.pipeline import convert_checkpoint
partial = Path({str(tmp_path / "out.partial")!r})
def progress(done, total):
    if len(list(partial.glob("*.safetensors"))) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
convert_checkpoint(Path({str(source)!r}), Path({str(tmp_path / "out")!r}),
                   shard_bytes={SHARD_BYTES}, progress=progress)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    notices: list[str] = []
    convert(source, tmp_path / "out", notice=notices.append)

    assert killed.returncode < 0
    assert notices == ["Continuing. Files already written: 1."]
    assert digests(tmp_path / "out") == digests(q8)


def test_what_is_unfinished_is_no_model(source: Path, tmp_path: Path) -> None:
    """Neither our reader nor one that does not know the name takes it for a model."""
    partial = tmp_path / "out.partial"
    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", progress=stop_in_file(1, partial))

    assert not (partial / "config.json").exists()
    with pytest.raises(UnfinishedError):
        open_checkpoint(partial)
    with pytest.raises(FileNotFoundError):
        mlx_lm_logits(partial)
    renamed = partial.rename(tmp_path / "renamed")
    with pytest.raises(NoCheckpointError):
        open_checkpoint(renamed)


@pytest.mark.parametrize("change", ["recipe", "source"])
def test_what_another_conversion_left_is_started_anew(
    source: Path, q8: Path, tmp_path: Path, change: str
) -> None:
    """Nothing of another source or recipe ends up in the folder, and that is said."""
    folder, partial = tmp_path / "out", tmp_path / "out.partial"
    other = tmp_path / "other"
    shutil.copytree(source, other)
    options = {"recipe": "exact"} if change == "recipe" else {}
    with pytest.raises(KeyboardInterrupt):
        convert(
            source if options else other,
            folder,
            progress=stop_in_file(2, partial),
            **options,
        )
    notices: list[str] = []
    convert(source, folder, notice=notices.append)

    assert notices == [f"Starting over: {partial} has another source, recipe or version."]
    assert digests(folder) == digests(q8)


def test_a_source_that_changed_in_between_is_started_anew(
    source: Path, tmp_path: Path
) -> None:
    """The same path with other bytes does not continue what the first bytes began."""
    changing, folder = tmp_path / "source", tmp_path / "out"
    shutil.copytree(source, changing)
    with pytest.raises(KeyboardInterrupt):
        convert(changing, folder, progress=stop_in_file(2, tmp_path / "out.partial"))
    path = changing / "model.safetensors"
    tensors = read_tensors(path)
    tensors["model.embed_tokens.weight"] = tensors["lm_head.weight"]
    write_safetensors(path, tensors)
    notices: list[str] = []
    convert(changing, folder, recipe="q8", notice=notices.append)
    ours = open_checkpoint(folder)

    assert notices[0].startswith("Starting over: ")
    assert mx.array_equal(
        ours.array("model.embed_tokens.weight"), ours.array("lm_head.weight")
    ).item()


def test_a_disk_that_fills_up_on_the_way(
    source: Path,
    q8: Path,
    tmp_path: Path,
    full_disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is said with the file's name; with space again, the same call continues."""
    full_disk.left = 500_000
    with pytest.raises(NoSpaceError, match=r"model-00002-of-.*No space left on device"):
        convert(source, tmp_path / "out")
    full_disk.left = 10_000_000
    notices: list[str] = []
    convert(source, tmp_path / "out", notice=notices.append)

    assert notices == ["Continuing. Files already written: 1."]
    assert digests(tmp_path / "out") == digests(q8)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_killed_at_any_moment_then_continued(
    source: Path, recipe: str, request: pytest.FixtureRequest, tmp_path: Path, note: Note
) -> None:
    """25 times each: the same call ends with the uninterrupted folder, and no other."""
    whole = digests(request.getfixturevalue(recipe))
    out = tmp_path / "out"

    def run_again() -> bool:
        unfinished = not out.exists()
        with nullcontext() if unfinished else pytest.raises(DestinationExistsError):
            convert(source, out, recipe=recipe)
        assert digests(out) == whole
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        shutil.rmtree(out)
        return unfinished

    killed = kill_at_random(
        "from pathlib import Path\n"
        "import mlx.core as mx\n"
        "from gptoss_mlx.convert.pipeline import convert_checkpoint",
        f"convert_checkpoint(Path({str(source)!r}), Path({str(out)!r}), "
        f"recipe={recipe!r}, shard_bytes={SHARD_BYTES})",
        times=25,
        then=run_again,
        seed=0,
    )
    note("killed_conversions", killed)
    assert killed == 25
