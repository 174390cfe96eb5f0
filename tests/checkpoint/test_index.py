"""A wrong index, and shards that do not fit together."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from refusals import refused
from small_checkpoint import MODEL, NORM, deal, one_file_index, write_index, write_shards
from tiny_checkpoint import read_tensors, write_safetensors

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.checkpoint.layout import INDEX
from gptoss_mlx.errors import CheckpointError, ConfigError

HEAD = "lm_head.weight"


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_a_pipe_or_folder_in_place_of_the_index(make: Any, folder: Path) -> None:
    """It is no index."""
    make(folder / INDEX)

    assert len(open_checkpoint(folder).files) == 41


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_an_index_that_names_a_pipe_or_folder(make: Any, folder: Path) -> None:
    """What it names must be a file."""
    make(folder / "model-2.safetensors")
    write_index(folder, {**one_file_index(folder), "x": "model-2.safetensors"})

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / INDEX} names 'model-2.safetensors', but there is no such file.",
    )


def test_an_index_that_names_a_missing_file(folder: Path) -> None:
    """A download that stopped half-way."""
    write_index(folder, {**one_file_index(folder), NORM: "model-2.safetensors"})

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / INDEX} names 'model-2.safetensors', but there is no such file.",
    )


@pytest.mark.parametrize(
    "file",
    [
        "../model.safetensors",
        "/etc/passwd",
        "original/model.safetensors",
        "..\\model.safetensors",
        "model.safetensors\0",
        "..",
        ".",
        "",
        "x" * 256,
        "名" * 86,
    ],
)
def test_an_index_that_leads_out_of_the_folder(folder: Path, file: str) -> None:
    """A name with a path in it is refused, and so is one that no file can have."""
    write_index(folder, {**one_file_index(folder), NORM: file})
    shown = repr(file) if len(file) < 78 else repr(file)[:77] + "..."

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / INDEX}: must name files of its own folder but names {shown}.",
    )


def test_an_index_that_names_half_a_surrogate_pair(folder: Path) -> None:
    """No file can have such a name, and the message can still be printed."""
    write_index(folder, {**one_file_index(folder), NORM: "\ud800\x1b[2J"})

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        rf"{folder / INDEX} names '\ud800\x1b[2J', but there is no such file.",
    )


@pytest.mark.parametrize(
    "weight_map", [None, [], "x", 4, {HEAD: None}, {HEAD: 1}, {HEAD: [MODEL]}]
)
def test_an_index_without_a_weight_map(folder: Path, weight_map: object) -> None:
    """It must map names to names."""
    write_index(folder, weight_map)

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / INDEX}: must have a weight_map from tensors to files but has none.",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "must be JSON: Expecting value: line 1 column 1 (char 0)."),
        ("[]", "must be a JSON object but is []."),
    ],
)
def test_an_index_that_is_no_json(folder: Path, content: str, reason: str) -> None:
    """The message names the index and so does the hint."""
    (folder / INDEX).write_text(content)

    error = refused(open_checkpoint, folder, ConfigError, f"{folder / INDEX}: {reason}")

    assert error.hint == f"Download {INDEX} again from the checkpoint's source."


@pytest.mark.parametrize("more", ["x", "\ud800", "x" * 1_000])
def test_an_index_with_a_tensor_that_is_in_no_file(folder: Path, more: str) -> None:
    """Index and files are not of one checkpoint."""
    write_index(folder, {**one_file_index(folder), more: MODEL})
    shown = repr(more) if len(more) < 78 else repr(more)[:77] + "..."

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / INDEX}: lists {shown} in {MODEL!r} but it is in no file.",
    )


def test_an_index_with_a_tensor_in_the_wrong_file(folder: Path) -> None:
    """The message says where it is."""
    names = sorted(read_tensors(folder / MODEL))
    write_shards(folder, {"model-1.safetensors": names[:9], MODEL: names[9:]}, index=True)
    index = json.loads((folder / INDEX).read_text())["weight_map"]
    write_index(folder, {**index, HEAD: MODEL})

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / INDEX}: lists '{HEAD}' in '{MODEL}' "
        "but it is in 'model-1.safetensors'.",
    )


def test_an_index_without_one_of_the_tensors(folder: Path) -> None:
    """A tensor of a file that counts must be in the index."""
    index = one_file_index(folder)
    del index[NORM]
    write_index(folder, index)

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor '{NORM}' must be in {INDEX} but is not.",
    )


@pytest.mark.parametrize("index", [True, False])
def test_a_tensor_in_two_files(folder: Path, index: bool) -> None:
    """Which one counts nobody can tell."""
    tensors = read_tensors(folder / MODEL)
    write_safetensors(folder / "model-2.safetensors", {NORM: tensors[NORM]})
    if index:
        write_index(folder, {**one_file_index(folder), NORM: "model-2.safetensors"})

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / MODEL}: tensor '{NORM}' must be in one file "
        "but is also in model-2.safetensors.",
    )


def test_a_missing_shard_without_an_index(folder: Path) -> None:
    """A tensor that was in it is named."""
    write_shards(
        folder,
        deal(read_tensors(folder / MODEL), ["model-1.safetensors", "model-2.safetensors"]),
        index=False,
    )
    (folder / "model-1.safetensors").unlink()

    with pytest.raises(CheckpointError, match=re.escape(f"no file in {folder} has it")):
        open_checkpoint(folder)


def test_an_index_of_many_names(folder: Path) -> None:
    """It is refused by its first wrong name."""
    names = ", ".join(f'"x{i}": "{MODEL}"' for i in range(200_000))
    (folder / INDEX).write_text(f'{{"weight_map": {{{names}}}}}')

    refused(
        open_checkpoint,
        folder,
        CheckpointError,
        f"{folder / INDEX}: lists 'x0' in {MODEL!r} but it is in no file.",
    )
