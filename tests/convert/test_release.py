"""Comparisons with a release: one made of a tiny checkpoint, whose digests are computed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_checkpoint import HEAD
from tiny_checkpoint import read_tensors, write_safetensors, write_split_folder

from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.config_json import read_config
from gptoss_mlx.convert.companions import WRITTEN
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.release import Published, verify_release
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import VerifyError
from gptoss_mlx.manifest import FileEntry
from gptoss_mlx.manifest_digest import digest_line

FILES = [f"model-0000{i}-of-00002.safetensors" for i in range(3)]
REPOSITORY = "openai/gpt-oss-tiny"


def publish(folder: Path) -> Published:
    """What is published of a checkpoint."""
    files = {
        path.name: FileEntry(
            path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in folder.iterdir()
    }
    config = replace(read_config(folder), quantization=None)
    return Published(REPOSITORY, "0" * 40, files, config)


@pytest.fixture(scope="module")
def release(sharded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release in three files. Not to be changed."""
    folder = tmp_path_factory.mktemp("release") / "gpt-oss-tiny"
    shutil.copytree(sharded, folder)
    (folder / "USAGE_POLICY").write_text("Be good.")
    (folder / "tokenizer.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def published(release: Path) -> Published:
    """What is published of it."""
    return publish(release)


@pytest.fixture(scope="module")
def converted(
    release: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Converts the release by a recipe, once."""
    base = tmp_path_factory.mktemp("converted")

    def convert(recipe: str) -> Path:
        if not (base / recipe).exists():
            convert_checkpoint(release, base / recipe, recipe=recipe)
        return base / recipe

    return convert


@pytest.fixture
def copy(converted: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Copies a converted folder, to be changed."""
    return lambda recipe: Path(shutil.copytree(converted(recipe), tmp_path / recipe))


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest, and its digest to match."""
    path = folder / "manifest.json"
    keys = json.loads(path.read_text())
    change(keys)
    content = json.dumps(keys).encode()
    path.write_bytes(content)
    (folder / "manifest.sha256").write_bytes(digest_line(content))


def refusal(folder: Path, published: Published, against: Path | None = None) -> str:
    """What is said of a model that is not the release."""
    verify_checkpoint(folder)
    with pytest.raises(VerifyError) as caught:
        verify_release(folder, published, against)
    return str(caught.value)


def test_exact_is_proved(converted: Callable[[str], Path], published: Published) -> None:
    """Each released file, put together again, has the published sha256."""
    seen: list[tuple[int, int]] = []
    report = verify_release(
        converted("exact"), published, progress=lambda *counts: seen.append(counts)
    )

    assert report.weights == dict.fromkeys(FILES, "proved")
    assert (report.proved_tensors, report.attested_tensors) == (79, 0)
    assert report.quantized_tensors == 0
    assert report.small_files == ("USAGE_POLICY", "tokenizer.json")
    assert report.own_files == ("LICENSE", "generation_config.json")
    assert report.other_files == ("README.md",)
    total = sum(published.files[name].nbytes for name in FILES)
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)


def test_another_distribution_to_files_is_proved_too(
    release: Path, published: Published, tmp_path: Path
) -> None:
    """Nothing depends on where a tensor lies."""
    convert_checkpoint(release, tmp_path / "out", recipe="exact", shard_bytes=200_000)

    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 6
    report = verify_release(tmp_path / "out", published)
    assert report.weights == dict.fromkeys(FILES, "proved")


def test_q8_is_attested(converted: Callable[[str], Path], published: Published) -> None:
    """Of no file are all bytes here; what is recorded of them is the published sha256."""
    report = verify_release(converted("q8"), published)

    assert report.weights == dict.fromkeys(FILES, "attested")
    assert report.proved_tensors == 0
    assert report.quantized_tensors == 4 * 4 + 2
    assert report.attested_tensors == 79 - report.quantized_tensors
    assert report.small_files == ("USAGE_POLICY", "tokenizer.json")


def test_a_recipe_that_changes_one_file(
    release: Path, published: Published, tmp_path: Path
) -> None:
    """The others are proved."""
    recipe = tmp_path / "head.toml"
    recipe.write_text("[weights]\nlm_head = 6\n")
    convert_checkpoint(release, tmp_path / "out", recipe=str(recipe))
    report = verify_release(tmp_path / "out", published)
    (file,) = {open_checkpoint(release).files[f"{HEAD}.weight"].path.name}

    assert {name for name, claim in report.weights.items() if claim == "attested"} == {file}
    assert report.quantized_tensors == 1
    assert report.proved_tensors + report.attested_tensors == 78


@pytest.mark.parametrize("recipe", ["exact", "q8", "small"])
def test_with_a_download_all_is_proved(
    converted: Callable[[str], Path], release: Path, published: Published, recipe: str
) -> None:
    """Its files have the published sha256, and the model is made of them."""
    report = verify_release(converted(recipe), published, release)

    assert report.weights == dict.fromkeys(FILES, "proved")
    assert report.attested_tensors == report.quantized_tensors == 0


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_from_another_layout_a_download_proves_it(
    source: Path, release: Path, published: Published, tmp_path: Path, recipe: str
) -> None:
    """Without one that is not possible, and said."""
    convert_checkpoint(source / "original", tmp_path / "out", recipe=recipe)
    said = refusal(tmp_path / "out", published)
    assert "was converted from original/, whose files are others than those" in said

    verify_checkpoint(tmp_path / "out", release)
    report = verify_release(tmp_path / "out", published, release)
    assert report.weights == dict.fromkeys(FILES, "proved")
    assert report.small_files == ()


@pytest.mark.parametrize("recipe", ["exact", "q8"])
def test_a_fine_tune_of_the_same_size(
    release: Path, published: Published, tmp_path: Path, recipe: str
) -> None:
    """One changed value in one file: that file is named, for every recipe."""
    tuned = tmp_path / "tuned"
    shutil.copytree(release, tuned)
    tensors = read_tensors(tuned / FILES[1])
    name = min(name for name in tensors if name.endswith("_blocks"))
    tensors[name] = tensors[name].copy()
    tensors[name].flat[0] ^= 1
    write_safetensors(tuned / FILES[1], tensors)
    convert_checkpoint(tuned, tmp_path / "out", recipe=recipe)

    said = refusal(tmp_path / "out", published)
    assert said.startswith(f"{FILES[1]}, ")
    assert f"must have the sha256 {published.files[FILES[1]].sha256}, as in" in said
    with pytest.raises(VerifyError, match=f"{FILES[1]}: must have the sha256"):
        verify_release(tmp_path / "out", published, tuned)


def test_a_model_of_other_files(source: Path, exact: Path, published: Published) -> None:
    """Their names give it away."""
    assert refusal(exact, published) == (
        f"{exact} must be made of {FILES[0]}, to be {REPOSITORY}."
    )
    with pytest.raises(VerifyError, match=f"must have {FILES[0]}, to be {REPOSITORY}"):
        verify_release(exact, published, source)


def test_a_setting_that_differs(
    release: Path, published: Published, tmp_path: Path
) -> None:
    """The right weights compute something else then."""
    other = tmp_path / "other"
    shutil.copytree(release, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rope_theta": 10_000}))
    convert_checkpoint(other, tmp_path / "out", recipe="exact")

    assert refusal(tmp_path / "out", published) == (
        f"{tmp_path / 'out' / 'config.json'}: rope_theta must be 150000.0, as in "
        f"{REPOSITORY}, but is 10000.0."
    )


@pytest.mark.parametrize("content", ['{"version": 2}', ""])
def test_a_tokenizer_that_differs(
    release: Path, published: Published, tmp_path: Path, content: str
) -> None:
    """The file is named."""
    other = tmp_path / "other"
    shutil.copytree(release, other)
    (other / "tokenizer.json").write_text(content)
    convert_checkpoint(other, tmp_path / "out", recipe="exact")

    out = tmp_path / "out"
    assert refusal(out, published).startswith(f"{out / 'tokenizer.json'}: must have the ")


def test_a_file_that_is_not_of_the_release(
    copy: Callable[[str], Path], published: Published
) -> None:
    """A program may read it, so it is listed."""
    folder = copy("exact")
    content = b"[1]"
    (folder / "added_tokens.json").write_bytes(content)
    entry = {"bytes": 3, "sha256": hashlib.sha256(content).hexdigest()}
    change_manifest(folder, lambda keys: keys["files"].update({"added_tokens.json": entry}))
    verify_checkpoint(folder)

    report = verify_release(folder, published)
    assert report.other_files == ("README.md", "added_tokens.json")


def test_small_files_that_convert_has_written(
    converted: Callable[[str], Path], published: Published
) -> None:
    """They are none of the release, and listed as what they are."""
    files = {**published.files, "LICENSE": FileEntry(3, "0" * 64)}
    report = verify_release(converted("exact"), replace(published, files=files))

    assert "LICENSE" in report.own_files
    assert (converted("exact") / "LICENSE").read_bytes() == WRITTEN["LICENSE"]


def test_a_digest_that_was_not_recorded(
    copy: Callable[[str], Path], published: Published
) -> None:
    """Exact needs none; of the others, that file cannot be attested."""
    for recipe in ("exact", "q8"):
        folder = copy(recipe)
        change_manifest(
            folder, lambda keys: keys["source_files"][FILES[1]].update(sha256=None)
        )
        if recipe == "exact":
            assert verify_release(folder, published).weights[FILES[1]] == "proved"
        else:
            said = refusal(folder, published)
            assert f"does not record the sha256 of {FILES[1]}, so" in said


def test_a_manifest_without_its_source(
    copy: Callable[[str], Path], published: Published
) -> None:
    """The hint is what proves it all the same."""
    folder = copy("exact")
    change_manifest(folder, lambda keys: keys.update(source_files={}))
    verify_checkpoint(folder)
    with pytest.raises(VerifyError, match="does not record the files of its") as caught:
        verify_release(folder, published)

    assert caught.value.hint == (
        "Compare it with a download as well: "
        f"gptoss-mlx verify {folder} --release --against SRC"
    )


def test_a_header_with_another_shape(
    copy: Callable[[str], Path], published: Published
) -> None:
    """It is not taken for a quantized tensor."""
    folder = copy("q8")

    def change(keys: dict[str, Any]) -> None:
        for entry in keys["source_files"].values():
            entries = json.loads(entry["header"])
            if (norm := entries.get("model.norm.weight")) is not None:
                norm["shape"] = [2, 48]
            text = json.dumps(entries, separators=(",", ":"))
            entry["header"] = text.ljust(len(entry["header"]))

    change_manifest(folder, change)
    assert "'model.norm.weight' must be BF16 (2, 48)" in refusal(folder, published)


def test_a_header_that_leaves_a_tensor_out(
    copy: Callable[[str], Path], published: Published
) -> None:
    """Of that tensor nothing is attested."""
    folder = copy("q8")

    def change(keys: dict[str, Any]) -> None:
        for entry in keys["source_files"].values():
            entries = json.loads(entry["header"])
            left = entries.pop("model.norm.weight", None)
            if left is not None:
                first, end = left["data_offsets"]
                for other in entries.values():
                    if other["data_offsets"][0] >= end:
                        places = other["data_offsets"]
                        other["data_offsets"] = [place - end + first for place in places]
                text = json.dumps(entries, separators=(",", ":"))
                entry["header"] = text.ljust(len(entry["header"]) + end - first)

    change_manifest(folder, change)
    assert refusal(folder, published) == (
        f"{folder}: the source must have the tensor 'model.norm.weight'."
    )


@pytest.mark.parametrize("recipe", ["exact", "q8"])
@pytest.mark.parametrize(
    "kind",
    ["another sha256", "another length", "swapped", "renamed", "no header", "moved"],
)
def test_a_manifest_that_lies(
    copy: Callable[[str], Path], published: Published, recipe: str, kind: str
) -> None:
    """No header makes a proof of other bytes, and none crashes the reader."""
    folder = copy(recipe)

    def change(keys: dict[str, Any]) -> None:
        first, second, _ = (keys["source_files"][name] for name in FILES)
        if kind == "another sha256":
            first["sha256"] = "0" * 64
        elif kind == "another length":
            first["bytes"] += 8
            first["header"] = first["header"] + 8 * " "
        elif kind == "swapped":
            first["header"], second["header"] = second["header"], first["header"]
        elif kind == "renamed":
            first["header"] = first["header"].replace("norm", "nurm")
        elif kind == "no header":
            first["header"] = "{"
        else:
            keys["source_files"]["model-x.safetensors"] = keys["source_files"].pop(FILES[0])

    change_manifest(folder, change)
    if recipe == "exact" and kind == "another sha256":
        assert verify_release(folder, published).proved_tensors == 79
    else:
        assert refusal(folder, published)


def test_tensors_that_change_places(
    copy: Callable[[str], Path], published: Published
) -> None:
    """Two of the same shape, each under the other's name, in the manifest as well."""
    folder = copy("exact")
    path = min(folder.glob("*.safetensors"))
    tensors = read_tensors(path)
    one, two, *_ = (name for name in tensors if name.endswith("layernorm.weight"))
    tensors[one], tensors[two] = tensors[two], tensors[one]
    write_safetensors(path, tensors)

    def change(keys: dict[str, Any]) -> None:
        entries = keys["tensors"]
        entries[one], entries[two] = entries[two], entries[one]
        content = path.read_bytes()
        keys["files"][path.name] = {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }

    change_manifest(folder, change)
    said = refusal(folder, published)
    assert "must have the sha256" in said
    assert "put together again" in said


def test_a_folder_of_another_program(
    release: Path, source: Path, published: Published, tmp_path: Path
) -> None:
    """It has no manifest."""
    write_split_folder(source, tmp_path / "split", bits=8)
    with pytest.raises(VerifyError, match=r"must have a manifest\.json"):
        verify_release(tmp_path / "split", published)
