from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoint import (
    read_tensors,
    write_safetensors,
    write_split_folder,
    write_tiny_checkpoint,
)

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import NoCheckpointError, VerifyError
from gptoss_mlx.manifest_digest import digest_line

TENSOR = "model.layers.2.mlp.experts.down_proj_blocks"


def flip_byte(folder: Path, name: str) -> Path:
    """Change one byte in the middle of a tensor, and return its file."""
    info = open_checkpoint(folder).files[name]
    with info.path.open("r+b") as file:
        file.seek(info.start + info.nbytes // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    return info.path


@pytest.fixture
def copy(q8: Path, tmp_path: Path) -> Path:
    """A folder converted by ``q8``, to be changed."""
    return Path(shutil.copytree(q8, tmp_path / "copy"))


def refusal(folder: Path, against: Path | None = None) -> str:
    """What verify says of a folder that is not right."""
    with pytest.raises(VerifyError) as caught:
        verify_checkpoint(folder, against)
    return str(caught.value)


@pytest.mark.parametrize("recipe", ["exact", "q8"])
@pytest.mark.parametrize("layout", ["huggingface", "original", "split"])
def test_a_right_folder(
    source: Path,
    recipe: str,
    layout: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Manifest and source agree, whatever the layout of the source; all is counted."""
    folder: Path = request.getfixturevalue(recipe)
    against = source
    if layout == "original":
        against = source / "original"
    elif layout == "split":
        against = tmp_path / "split"
        write_split_folder(source, against)
    seen: list[tuple[int, int]] = []
    report = verify_checkpoint(
        folder, against, progress=lambda *counts: seen.append(counts)
    )

    dense = 0 if recipe == "exact" else 4 * 4 + 2
    assert (report.identical, report.requantized) == (79 - dense, 3 * dense)
    assert report.tensors == 79 + 2 * dense
    files = [path for path in folder.iterdir() if path.stem != "manifest"]
    assert report.files == len(files)
    assert report.nbytes == sum(path.stat().st_size for path in files)
    assert seen[-1] == (seen[-1][1], report.nbytes + open_checkpoint(against).nbytes)


def test_without_a_source(q8: Path) -> None:
    """The manifest alone is checked, and the report says so."""
    report = verify_checkpoint(q8)

    assert (report.identical, report.requantized) == (None, None)


@pytest.mark.parametrize(
    "name", [TENSOR, "model.norm.weight", "lm_head.weight", "lm_head.scales"]
)
def test_a_changed_byte(copy: Path, name: str) -> None:
    """The error names the file and the tensor."""
    path = flip_byte(copy, name)

    assert refusal(copy).startswith(f"{path}: tensor {name!r} must have the sha256 ")


@pytest.mark.parametrize("name", ["config.json", "README.md", "LICENSE"])
def test_a_changed_small_file(copy: Path, name: str) -> None:
    """Its length or its digest gives it away."""
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content + b" ")
    assert f"{name}: must have {len(content):,} bytes" in refusal(copy)

    (copy / name).write_bytes(content[:-2] + b" \n")
    assert f"{name}: must have the sha256 " in refusal(copy)


def test_a_changed_header(copy: Path) -> None:
    """The tensors are unchanged, but not the file."""
    path = open_checkpoint(copy).files["model.norm.weight"].path
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"format":"mlx"', b'"format":"mlX"'))

    assert refusal(copy).startswith(f"{path}: must have the sha256 ")


def test_a_tensor_under_another_name(copy: Path) -> None:
    """The error names it."""
    path = open_checkpoint(copy).files["model.norm.weight"].path
    path.write_bytes(path.read_bytes().replace(b"model.norm", b"model.nurm"))

    assert refusal(copy) == f"{path}: must have the tensor 'model.norm.weight'."


def test_a_tensor_of_another_dtype(copy: Path) -> None:
    """The error names it, with both dtypes."""
    path = open_checkpoint(copy).files["model.norm.weight"].path
    content = path.read_bytes()
    entry = b'"model.norm.weight":{"dtype":"'
    path.write_bytes(content.replace(entry + b'BF16",', entry + b'F16", '))

    assert refusal(copy) == (
        f"{path}: tensor 'model.norm.weight' must be BF16 (96,) but is F16 (96,)."
    )


def test_a_truncated_file(copy: Path) -> None:
    """The error has both lengths."""
    path = sorted(copy.glob("*.safetensors"))[1]
    nbytes = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])

    assert refusal(copy) == (f"{path}: must have {nbytes:,} bytes but has {nbytes - 1:,}.")


def test_missing_files(copy: Path) -> None:
    """The error names the first, and counts the others."""
    (copy / "LICENSE").unlink()
    assert refusal(copy) == f"{copy} must have LICENSE but does not."

    (copy / "README.md").unlink()
    assert refusal(copy) == f"{copy} must have LICENSE but does not (and 1 more)."


def test_an_extra_file(copy: Path) -> None:
    """A program would load it, so it is named; hidden files are nobody's business."""
    (copy / ".DS_Store").touch()
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x").touch()
    verify_checkpoint(copy)
    (copy / "model-extra.safetensors").touch()

    assert refusal(copy) == (
        f"{copy} has files that the manifest does not list: model-extra.safetensors."
    )


@pytest.mark.parametrize(
    "name",
    [
        TENSOR,
        "model.layers.0.mlp.experts.gate_up_proj_scales",
        "model.layers.3.mlp.experts.gate_up_proj_bias",
        "model.layers.1.self_attn.sinks",
        "model.layers.1.mlp.router.weight",
        "model.layers.1.self_attn.q_proj.bias",
        "model.layers.1.self_attn.q_proj.weight",
        "model.embed_tokens.weight",
    ],
)
@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_a_source_that_differs_in_one_byte(
    source: Path,
    recipe: str,
    name: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """The error names the tensor, whether it is verbatim or quantized."""
    folder: Path = request.getfixturevalue(recipe)
    other = tmp_path / "other"
    shutil.copytree(source, other)
    tensors = read_tensors(other / "model.safetensors")
    tensors[name] = tensors[name].copy()
    tensors[name].flat[-1] ^= 64  # enough to move a quantized value
    write_safetensors(other / "model.safetensors", tensors)
    quantized = recipe == "q8" and name.endswith(("proj.weight", "tokens.weight"))
    rule = "the source's values in 8 bits" if quantized else "the source's bytes"

    file = open_checkpoint(folder).files[name].path
    said = refusal(folder, other)
    assert said.startswith(f"{file}: tensor '{name.removesuffix('weight')}")
    assert said.endswith(f"must have {rule} but differs.")


def test_a_source_of_another_dtype(q8: Path, source: Path, tmp_path: Path) -> None:
    """The same bytes mean other numbers: they are not taken for the same."""
    other = tmp_path / "other"
    shutil.copytree(source, other)
    path = other / "model.safetensors"
    entry = b'"model.norm.weight":{"dtype":"'
    content = path.read_bytes()
    path.write_bytes(content.replace(entry + b'BF16",', entry + b'F16", '))

    assert refusal(q8, other).endswith(
        "'model.norm.weight' must have the source's dtype, F16, but differs."
    )


def test_a_source_of_another_seed(q8: Path, tmp_path: Path) -> None:
    """Another model of the same size is not taken for the source."""
    write_tiny_checkpoint(tmp_path / "other", seed=1)

    assert "but differs" in refusal(q8, tmp_path / "other")


def test_a_source_of_another_config(q8: Path, source: Path, tmp_path: Path) -> None:
    """A key that the model reads and that was changed is named."""
    other = tmp_path / "other"
    shutil.copytree(source, other)
    config = json.loads((other / "config.json").read_text())
    config["swiglu_limit"] = 6.0
    (other / "config.json").write_text(json.dumps(config))

    assert refusal(q8, other) == (
        f"{q8 / 'config.json'}: swiglu_limit must be the source's, 6.0, but is 7.0."
    )


def test_a_quantized_folder_as_the_source(
    source: Path, exact: Path, tmp_path: Path
) -> None:
    """It has no released bytes to compare with."""
    split = tmp_path / "split"
    write_split_folder(source, split, bits=8)

    assert "must be as released but is quantized" in refusal(exact, split)


def test_a_source_that_is_none(q8: Path, tmp_path: Path) -> None:
    """The error is the checkpoint reader's own."""
    with pytest.raises(NoCheckpointError):
        verify_checkpoint(q8, tmp_path)


def test_a_folder_without_a_manifest(source: Path) -> None:
    """It was not converted here, and the hint says what was asked for."""
    with pytest.raises(VerifyError, match=r"must have a manifest\.json") as caught:
        verify_checkpoint(source)

    assert caught.value.hint == "Name a folder that gptoss-mlx convert has written."


def set_at(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Makes a change of one place in a JSON object."""

    def change(keys: dict[str, Any]) -> None:
        for key in path[:-1]:
            keys = keys[key]
        keys[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_at("format", value=3),
        set_at("format", value=True),
        set_at("files", value=[]),
        set_at("files", "config.json", value=3),
        set_at("files", "config.json", "bytes", value=-1),
        set_at("files", "config.json", "bytes", value=True),
        set_at("files", "config.json", "sha256", value="../x"),
        set_at("files", "../config.json", value={"bytes": 1, "sha256": "0" * 64}),
        set_at("tensors", TENSOR, "file", value="a/b"),
        set_at("tensors", TENSOR, "file", value="unknown.safetensors"),
        set_at("tensors", TENSOR, "shape", value="8"),
        set_at("tensors", TENSOR, "shape", value=[1.5]),
        set_at("tensors", value=None),
        set_at("source", value=None),
        set_at("made_by", value=[]),
        set_at("source_files", value=None),
        set_at("source_files", "../x", value={"bytes": 1, "sha256": None, "header": ""}),
        set_at("source_files", "x", value={"bytes": -1, "sha256": None, "header": ""}),
        set_at("source_files", "x", value={"bytes": 1, "sha256": "0", "header": ""}),
        set_at("source_files", "x", value={"bytes": 1, "sha256": None, "header": None}),
        set_at("source_files", "x", value={"bytes": 1, "sha256": None, "header": "\ud800"}),
    ],
)
def test_a_manifest_that_is_none(
    copy: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """The error names the file, and nothing outside the folder is read."""
    path = copy / "manifest.json"
    keys = json.loads(path.read_text())
    change(keys)
    put_manifest(copy, json.dumps(keys))

    said = refusal(copy)
    assert said.startswith(f"{path}: ")
    assert "sha256 of" not in said
    assert "as manifest.sha256 says" not in said


def put_manifest(folder: Path, content: str) -> None:
    """Replace a manifest, with its digest."""
    (folder / "manifest.json").write_text(content)
    (folder / "manifest.sha256").write_bytes(digest_line(content.encode()))


def test_a_manifest_that_is_not_json(copy: Path) -> None:
    """The error names it."""
    put_manifest(copy, "{")

    assert "manifest.json: must be JSON" in refusal(copy)


def test_the_small_files_of_a_release_are_checked_too(source: Path, tmp_path: Path) -> None:
    """A tokenizer that was copied is in the manifest."""
    released = tmp_path / "released"
    shutil.copytree(source, released)
    (released / "tokenizer.json").write_text('{"version": 1}')
    convert_checkpoint(released, tmp_path / "out")
    verify_checkpoint(tmp_path / "out")
    (tmp_path / "out" / "tokenizer.json").write_text('{"version": 2}')

    assert "tokenizer.json: must have the sha256" in refusal(tmp_path / "out")
