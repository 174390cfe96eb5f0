from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from refusals import refused
from small_checkpoint import MODEL, deal, one_file_index, write_index, write_shards
from tiny_checkpoint import read_tensors

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.layout import INDEX, Layout
from gptoss_mlx.errors import (
    CorruptFileError,
    NoCheckpointError,
    NoPermissionError,
    StorageError,
    UnfinishedError,
    UnsupportedModelError,
)

# Layouts.


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", ["original", "hf", "gpt-oss-20b-MLX-8bit", "größe 名"])
def test_the_content_tells_the_layout(
    layout: Layout, name: str, sources: dict[Layout, Path], tmp_path: Path
) -> None:
    """A folder may have any name, also one that suggests another layout."""
    shutil.copytree(sources[layout], tmp_path / name)

    assert open_checkpoint(tmp_path / name).layout is layout


def test_openais_tensors_with_hugging_faces_config(
    sources: dict[Layout, Path], tmp_path: Path
) -> None:
    """Which spelling config.json has does not matter for the tensors, and vice versa."""
    hugging_face, openai = sources[Layout.HUGGING_FACE], sources[Layout.OPENAI]
    for number, (tensors, config) in enumerate(
        [(hugging_face, openai), (openai, hugging_face)]
    ):
        mixed = tmp_path / str(number)
        mixed.mkdir()
        shutil.copy(tensors / MODEL, mixed)
        shutil.copy(config / "config.json", mixed)

        found, whole = open_checkpoint(mixed), open_checkpoint(tensors)
        assert (found.layout, found.views) == (whole.layout, whole.views)


def test_released_names_with_a_quantization_dictionary_are_mlxs(folder: Path) -> None:
    """What convert writes: experts as released, and MLX's dictionary beside them."""
    config = json.loads((folder / "config.json").read_text())
    config["quantization"] = {"group_size": 32, "bits": 4, "mode": "mxfp4"}
    (folder / "config.json").write_text(json.dumps(config))

    assert open_checkpoint(folder).layout is Layout.MLX


# Files, with and without an index.


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("layout", Layout)
def test_shards_split_inside_a_layer(
    layout: Layout, index: bool, sources: dict[Layout, Path], tmp_path: Path
) -> None:
    """A layer's blocks, scales and biases may all lie in different files."""
    folder = Path(shutil.copytree(sources[layout], tmp_path / "split"))
    names = list(read_tensors(folder / MODEL))
    files = [f"model-{i:05}-of-00005.safetensors" for i in range(1, 6)]
    shards = deal(names, files)
    write_shards(folder, shards, index=index)

    checkpoint, whole = open_checkpoint(folder), open_checkpoint(sources[layout])

    assert checkpoint.views == whole.views
    assert {name: info.path.name for name, info in checkpoint.files.items()} == {
        name: file for file, names in shards.items() for name in names
    }
    for name in whole.parameters:
        ours, theirs = checkpoint.array(name), whole.array(name)
        assert ours.dtype == theirs.dtype
        assert mx.array_equal(ours, theirs)


def test_the_three_files_of_20b(folder: Path) -> None:
    """They count from 00000 to 00002 "of 00002": no name is computed, index or not."""
    files = [f"model-0000{i}-of-00002.safetensors" for i in range(3)]
    names = sorted(read_tensors(folder / MODEL))
    # As released: within layers, biases before blocks, embedding and head at the end.
    third = len(names) // 3
    cut = {
        files[0]: names[1:third],
        files[1]: names[third : 2 * third],
        files[2]: [*names[2 * third :], names[0]],
    }
    write_shards(folder, cut, index=True)

    with_index = open_checkpoint(folder)
    (folder / INDEX).unlink()
    without = open_checkpoint(folder)

    assert with_index.files == without.files
    assert {info.path.name for info in without.files.values()} == set(files)


@pytest.mark.parametrize("index", [True, False])
def test_the_double_dash_of_120bs_original_files(
    index: bool, sources: dict[Layout, Path], tmp_path: Path
) -> None:
    """OpenAI wrote ``model--00001-of-00007.safetensors``."""
    folder = Path(shutil.copytree(sources[Layout.OPENAI], tmp_path / "any"))
    files = [f"model--{i:05}-of-00007.safetensors" for i in range(1, 8)]
    write_shards(folder, deal(read_tensors(folder / MODEL), files), index=index)

    checkpoint = open_checkpoint(folder)

    assert checkpoint.layout is Layout.OPENAI
    assert {info.path.name for info in checkpoint.files.values()} == set(files)


@pytest.mark.parametrize(
    "stray", ["consolidated.safetensors", "adapters.safetensors", "._model.safetensors"]
)
def test_other_files_beside_the_models_are_left_alone(folder: Path, stray: str) -> None:
    """Where there is a ``model*.safetensors``, no other name counts."""
    (folder / stray).write_bytes(b"anything")

    assert {info.path.name for info in open_checkpoint(folder).files.values()} == {MODEL}


def test_a_file_of_another_name_counts_where_there_is_no_model(folder: Path) -> None:
    """Some fine-tunes are called otherwise. macOS's ``._`` companions are no weights."""
    (folder / MODEL).rename(folder / "weights.safetensors")
    (folder / "._weights.safetensors").write_bytes(b"\0\5\x16\7")

    assert {info.path.name for info in open_checkpoint(folder).files.values()} == {
        "weights.safetensors"
    }


def test_a_file_that_the_index_leaves_out_is_left_alone(folder: Path) -> None:
    """Where there is an index, it says which files count."""
    write_index(folder, one_file_index(folder))
    (folder / "model-old.safetensors").write_bytes(b"anything")

    assert len(open_checkpoint(folder).files) == 41


def test_links_into_a_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    """Hugging Face's cache keeps the bytes elsewhere, under another name."""
    write_index(folder, one_file_index(folder))
    (tmp_path / "blobs").mkdir()
    for number, file in enumerate((INDEX, MODEL, "config.json")):
        blob = tmp_path / "blobs" / str(number)
        (folder / file).rename(blob)
        (folder / file).symlink_to(blob)

    assert {info.path.name for info in open_checkpoint(folder).files.values()} == {MODEL}


# Folders that are no checkpoint.


@pytest.mark.parametrize("name", ["missing", "a\0b", "a/\ud800"])
def test_a_folder_that_is_not_there(name: str, tmp_path: Path) -> None:
    """Also one that could not be there."""
    with pytest.raises(NoCheckpointError, match="is not a folder"):
        open_checkpoint(tmp_path / name)


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    """The folder is to be named, not the file in it."""
    path = folder / MODEL

    refused(open_checkpoint, path, NoCheckpointError, f"{path} is not a folder.")


def test_a_folder_without_weights(folder: Path) -> None:
    """The message names it."""
    (folder / MODEL).unlink()

    error = refused(
        open_checkpoint,
        folder,
        NoCheckpointError,
        f"{folder} must have a safetensors file but has none.",
    )
    assert error.hint == NoCheckpointError.hint


@pytest.mark.parametrize("config", [True, False])
def test_a_folder_with_weights_in_original_only(
    config: bool, folder: Path, sources: dict[Layout, Path]
) -> None:
    """The hint names the folder that would do, whether config.json is there or not."""
    (folder / MODEL).unlink()
    shutil.copytree(sources[Layout.OPENAI], folder / "original")
    if not config:
        (folder / "config.json").unlink()
    what = "a safetensors file" if config else "a config.json"

    error = refused(
        open_checkpoint,
        folder,
        NoCheckpointError,
        f"{folder} must have {what} but has none.",
    )

    assert error.hint == f"Name the folder inside it: {folder / 'original'}"
    assert open_checkpoint(folder / "original").layout is Layout.OPENAI


@pytest.mark.parametrize("config", [True, False])
def test_a_folder_still_being_written(config: bool, folder: Path) -> None:
    """NAME.partial is never a model, even when all of it seems to be there."""
    partial = folder.rename(folder.with_name("out.partial"))
    if not config:
        (partial / "config.json").unlink()

    refused(
        open_checkpoint,
        partial,
        UnfinishedError,
        f"{partial} is not finished yet.",
    )


def test_a_folder_still_being_written_under_another_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a link nor "." hides that it is not finished."""
    partial = folder.rename(folder.with_name("out.partial"))
    link = folder.with_name("link")
    link.symlink_to(partial)
    monkeypatch.chdir(partial)

    for name in (link, Path()):
        refused(
            open_checkpoint,
            name,
            UnfinishedError,
            f"{name} is not finished yet.",
        )


def test_another_model(folder: Path) -> None:
    """That config.json is of another model is said before its tensors are looked at."""
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / MODEL).write_bytes(b"")

    refused(
        open_checkpoint,
        folder,
        UnsupportedModelError,
        f"{folder / 'config.json'}: model_type must be 'gpt_oss' but is 'llama'.",
    )


@pytest.mark.parametrize("call", ["iterdir", "stat"])
def test_a_folder_that_must_not_be_listed(
    call: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal of the operating system is not taken for an empty folder."""
    whole = Path.stat

    def refuse(self: Path, **options: Any) -> object:
        if call == "stat" and self.name != MODEL:
            return whole(self, **options)
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, call, refuse)
    path = folder / MODEL if call == "stat" else folder

    refused(open_checkpoint, folder, NoPermissionError, f"{path}: Permission denied.")


# Files that are none.


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_pipe_or_folder_in_place_of_the_weights(make: Any, folder: Path) -> None:
    """It is refused at once: nothing waits for a pipe's other end."""
    path = folder / MODEL
    path.unlink()
    make(path)

    refused(open_checkpoint, folder, CorruptFileError, f"{path}: is not a file.")


def test_a_link_to_weights_that_are_gone(folder: Path) -> None:
    """A cache whose blobs were deleted is not taken for a smaller checkpoint."""
    path = folder / "model-2.safetensors"
    path.symlink_to("gone")

    refused(open_checkpoint, folder, StorageError, f"{path}: No such file or directory.")
