from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from evidence import Note
from folders import digests
from killed import kill_at_random
from tiny_checkpoint import read_tensors, write_safetensors, write_split_folder

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.errors import (
    ConvertError,
    CorruptFileError,
    DestinationExistsError,
    NoCheckpointError,
    NoPermissionError,
    NoSpaceError,
    StorageError,
    UnfinishedError,
)

SHARD_BYTES = 400_000
TOKENS = mx.array([[5, 17, 300, 4, 4, 201, 92, 511, 33, 7, 8, 120]])


def convert(source: Path, folder: Path, **options: Any) -> None:
    """Convert by ``q8`` into several files, unless told otherwise."""
    convert_checkpoint(source, folder, **{"shard_bytes": SHARD_BYTES, **options})


def expert_digests(folder: Path) -> dict[str, str]:
    """Digests of the experts as ``folder`` has them, by their released names."""
    tensors = {}
    for path in folder.glob("*.safetensors"):
        for name, tensor in read_tensors(path).items():
            if ".experts." in name:
                tensors[name] = tensor.tobytes().hex()
    return tensors


def mlx_lm_logits(folder: Path) -> mx.array:
    """Logits that mlx-lm computes from ``folder``. Shape ``(1, L, V)``."""
    from mlx_lm.utils import load_model

    model, _ = load_model(folder)
    logits: mx.array = model(TOKENS)
    return logits


def stop_in_file(number: int, partial: Path) -> Callable[[int, int], None]:
    """Makes a progress callback that presses Ctrl-C inside a file, counted from 0."""

    def progress(done: int, total: int) -> None:
        if len(list(partial.glob("*.safetensors"))) > number:
            raise KeyboardInterrupt

    return progress


def test_exact_is_the_source_to_mlx_lm(source: Path, exact: Path) -> None:
    """mlx-lm computes the very same logits from our folder and from the released one."""
    assert mx.array_equal(mlx_lm_logits(exact), mlx_lm_logits(source)).item()


def test_q8_runs_in_mlx_lm(source: Path, q8: Path) -> None:
    """mlx-lm reads the 8 bits as 8 bits: the logits are near the source's, and not they."""
    logits, released = mlx_lm_logits(q8), mlx_lm_logits(source)
    difference = np.array(mx.abs(logits - released).astype(mx.float32))

    assert 0 < difference.mean() < 0.2
    assert mx.isfinite(logits).all().item()


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_both_layouts_give_the_same_tensors(
    source: Path, recipe: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """OpenAI's layout and Hugging Face's convert to the same weight files and index."""
    from_hugging_face: Path = request.getfixturevalue(recipe)
    from_openai = tmp_path / "out"
    convert(source / "original", from_openai, recipe=recipe)

    assert digests(from_openai, "model*") == digests(from_hugging_face, "model*")
    table = "quantization"
    configs = [
        json.loads((folder / "config.json").read_text())
        for folder in (from_openai, from_hugging_face)
    ]
    assert configs[0][table] == configs[1][table]
    assert open_checkpoint(from_openai).config == open_checkpoint(from_hugging_face).config


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_expert_bytes_are_the_released_ones(
    source: Path, recipe: str, request: pytest.FixtureRequest
) -> None:
    """Under the released names, blocks, scales and biases are the same bytes."""
    folder: Path = request.getfixturevalue(recipe)

    released = expert_digests(source)
    assert len(released) == 4 * 6
    assert expert_digests(folder) == released


def test_exact_keeps_every_byte(source: Path, exact: Path) -> None:
    """Every tensor is the released one; nothing is missing or added."""
    released = read_tensors(source / "model.safetensors")
    ours = {
        name: tensor
        for path in exact.glob("*.safetensors")
        for name, tensor in read_tensors(path).items()
    }

    assert ours.keys() == released.keys()
    for name, tensor in released.items():
        np.testing.assert_array_equal(ours[name], tensor, err_msg=name)


def test_q8_is_what_mlx_quantizes_in_one_go(
    source: Path, q8: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Blocks of rows give the bytes of ``mx.quantize`` on the whole weight."""
    monkeypatch.setattr("gptoss_mlx.convert.quantize.PIECE_BYTES", 1000)
    convert(source, tmp_path / "out")
    ours = open_checkpoint(tmp_path / "out")
    released = open_checkpoint(source).array("lm_head.weight")
    with mx.stream(mx.cpu):
        whole = mx.quantize(released, group_size=32, bits=8)

    for suffix, expected in zip(("weight", "scales", "biases"), whole, strict=True):
        assert mx.array_equal(ours.array(f"lm_head.{suffix}"), expected).item()
    assert digests(tmp_path / "out") == digests(q8)


@pytest.mark.parametrize("dtype", ["F32", "F16"])
def test_a_source_that_is_not_bfloat16(source: Path, tmp_path: Path, dtype: str) -> None:
    """Its scales keep the source's dtype, and the folder still opens."""
    tensors = read_tensors(source / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.dtype == np.uint16:
            values = (tensor.astype(np.uint32) << 16).view(np.float32)
            tensors[name] = values.astype(np.float16 if dtype == "F16" else np.float32)
    (tmp_path / "source").mkdir()
    write_safetensors(tmp_path / "source" / "model.safetensors", tensors)
    shutil.copy(source / "config.json", tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "out")

    assert open_checkpoint(tmp_path / "out").dtype("lm_head.scales") == dtype
    assert mx.isfinite(mlx_lm_logits(tmp_path / "out")).all().item()


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

    assert notices == [f"Starting anew: {partial} is of another source, recipe or version."]
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

    assert notices[0].startswith("Starting anew: ")
    assert mx.array_equal(
        ours.array("model.embed_tokens.weight"), ours.array("lm_head.weight")
    ).item()


def test_the_same_source_gives_the_same_folder(
    source: Path, q8: Path, tmp_path: Path
) -> None:
    """No time, path or random name is in it."""
    convert(source, tmp_path / "elsewhere")

    assert digests(tmp_path / "elsewhere") == digests(q8)


def test_a_destination_that_exists(source: Path, tmp_path: Path) -> None:
    """It is left as it was, and named."""
    (tmp_path / "out").mkdir()
    with pytest.raises(DestinationExistsError) as caught:
        convert(source, tmp_path / "out")

    assert str(caught.value) == (
        f"The destination must not exist, but {tmp_path / 'out'} does."
    )
    assert str(tmp_path / "out") in caught.value.hint
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.parametrize("inside", [".", "inside", "original/inside"])
def test_a_destination_in_the_source(source: Path, inside: str) -> None:
    """The source's folder is not written to."""
    before = digests(source)
    with pytest.raises(ConvertError, match="must lie outside"):
        convert(source, source / inside)

    assert digests(source) == before


def test_a_destination_that_says_it_is_unfinished(source: Path, tmp_path: Path) -> None:
    """No reader would open it."""
    with pytest.raises(ConvertError, match=r"must not end in \.partial"):
        convert(source, tmp_path / "out.partial")


@pytest.mark.parametrize("which", ["ours", "split"])
def test_an_mlx_folder_is_not_converted(
    source: Path, q8: Path, tmp_path: Path, which: str
) -> None:
    """It runs as it is, and the hint says so."""
    folder = q8
    if which == "split":
        folder = tmp_path / "split"
        write_split_folder(source, folder, bits=8, router_bits=8)
    with pytest.raises(ConvertError, match="but is an MLX folder") as caught:
        convert(folder, tmp_path / "out")

    assert caught.value.hint == f"Run it as it is: gptoss-mlx chat {folder}"
    assert not list(tmp_path.glob("out*"))


def test_a_disk_that_would_be_full(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before anything is written, with both numbers."""
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(NoSpaceError) as caught:
        convert(source, tmp_path / "out", recipe="exact")

    # 1.52 MB of tensors and a MiB for the small files
    assert str(caught.value) == (f"{tmp_path} must have 2.6 MB free but has 1.0 MB.")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_on_the_way(
    source: Path,
    q8: Path,
    tmp_path: Path,
    full_disk: type[io.FileIO],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is said with the file's name; with space again, the same call continues."""
    full_disk.left = 500_000  # type: ignore[attr-defined]
    with pytest.raises(NoSpaceError, match=r"model-00002-of-.*No space left on device"):
        convert(source, tmp_path / "out")
    full_disk.left = 10_000_000  # type: ignore[attr-defined]
    notices: list[str] = []
    convert(source, tmp_path / "out", notice=notices.append)

    assert notices == ["Continuing. Files already written: 1."]
    assert digests(tmp_path / "out") == digests(q8)


def test_a_folder_that_must_not_be_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the path."""

    def refuse(path: Path, *rest: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(NoPermissionError) as caught:
        convert(source, tmp_path / "out")

    assert str(caught.value) == f"{tmp_path / 'out.partial'}: Permission denied."
    assert caught.value.hint == "Change the permissions, or name another folder."


def replaced(path: Path) -> None:
    """Put another file of the same size, and as old, there."""
    other, times = path.with_name("other"), path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def written_into(path: Path) -> None:
    """Change a byte of it."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


SMALL = ("config.json", "LICENSE", "generation_config.json")


@pytest.mark.parametrize("change", [replaced, written_into, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", *SMALL])
@pytest.mark.parametrize("at_end", [False, True])
def test_a_source_that_changes_while_it_is_converted(
    source: Path, tmp_path: Path, change: Callable[[Path], None], name: str, at_end: bool
) -> None:
    """One of the same size too: nothing is published, and the next run starts anew."""
    released = tmp_path / "released"
    shutil.copytree(source, released)
    for small in SMALL[1:]:
        (released / small).write_text("{}")
    moments = iter([at_end])

    def progress(done: int, total: int) -> None:
        if (done == total) == at_end and next(moments, None) is not None:
            change(released / name)

    with pytest.raises((ConvertError, CorruptFileError, StorageError), match=name):
        convert(released, tmp_path / "out", progress=progress)

    assert not (tmp_path / "out").exists()
    shutil.rmtree(released)
    shutil.copytree(source, released)
    convert(released, tmp_path / "out")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["out", "released"]


def test_a_file_that_comes_to_be_while_it_is_converted(
    source: Path, tmp_path: Path
) -> None:
    """The source was not whole, so what was written of it is not either."""
    released = tmp_path / "released"
    shutil.copytree(source, released)

    def progress(done: int, total: int) -> None:
        (released / "chat_template.jinja").touch()

    with pytest.raises(ConvertError, match=r"chat_template\.jinja must stay as it is"):
        convert(released, tmp_path / "out", progress=progress)
    assert not any(tmp_path.glob("out*"))
