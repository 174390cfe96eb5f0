"""Loops, pipes and devices in the place of each file that is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import load, store
from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import GptOssError
from gptoss_mlx.generation.sampling import read_sampling_defaults

SOURCE = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "LICENSE",
    "USAGE_POLICY",
)


def loop(path: Path) -> None:
    """Make a link to itself."""
    path.symlink_to(path.name)


def device(path: Path) -> None:
    """Make a link to what has no end."""
    path.symlink_to("/dev/zero")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint of one small file."""
    folder = tmp_path_factory.mktemp("source")
    write_tiny_checkpoint(
        folder,
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_local_experts=4,
    )
    shutil.rmtree(folder / "original")
    return folder


@pytest.fixture(scope="module")
def converted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, converted."""
    folder = tmp_path_factory.mktemp("converted") / "out"
    convert_checkpoint(source, folder, recipe="exact")
    return folder


def replaced(whole: Path, tmp_path: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Copy a folder with something else in the place of one file."""
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    return folder


def refused(work: Callable[[], object]) -> str:
    """Return what a named error says; it has a hint."""
    with pytest.raises(GptOssError) as caught:
        work()
    assert caught.value.hint[0].isupper()
    assert caught.value.hint != GptOssError.hint
    return str(caught.value)


makes = pytest.mark.parametrize("make", [loop, os.mkfifo, device])


@makes
@pytest.mark.parametrize("name", SOURCE)
def test_a_source_in_which_a_file_is_none(
    source: Path, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    """It is refused by the file's name, at once, and nothing is written."""
    folder = replaced(source, tmp_path, name, make)
    if "index" in name and make is not loop:
        # A checkpoint of one file needs none.
        assert len(open_checkpoint(folder).views) == 22
        return

    assert name in refused(lambda: convert_checkpoint(folder, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    if name in SOURCE[:3]:
        assert name in refused(lambda: open_checkpoint(folder))
    if name == "generation_config.json":
        assert name in refused(lambda: read_sampling_defaults(folder))


@makes
@pytest.mark.parametrize(
    "name",
    ["manifest.json", "config.json", "LICENSE", "model-00001-of-00001.safetensors"],
)
def test_a_converted_folder_in_which_a_file_is_none(
    converted: Path,
    tmp_path: Path,
    name: str,
    make: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``verify`` names it, and in the store it breaks that model alone."""
    folder = replaced(converted, tmp_path / "home" / "models", name, make)
    shutil.copytree(converted, folder.with_name("good"))
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))

    assert name in refused(lambda: verify_checkpoint(folder))
    states = {model.name: model.ready for model in store.models()}
    # Without a manifest, a folder is a model like any other.
    assert states == {"copy": name == "manifest.json" and make is not loop, "good": True}


def test_folders_that_are_links_in_a_circle(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the source, the destination, the home, and in what leads there."""
    circle = tmp_path / "circle"
    circle.symlink_to("circle")
    (tmp_path / "out.partial").symlink_to("out.partial")
    (tmp_path / "old.partial").mkdir()
    (tmp_path / "old.partial" / ".lock").symlink_to(".lock")

    assert "circle" in refused(lambda: open_checkpoint(circle))
    assert "circle" in refused(lambda: load(circle))
    assert "circle" in refused(lambda: verify_checkpoint(circle))
    for destination in (circle, circle / "out", tmp_path / "out", tmp_path / "old"):
        said = refused(lambda to=destination: convert_checkpoint(source, to))  # type: ignore[misc]
        assert str(destination) in said
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(circle))
    assert "circle" in refused(lambda: load("demo"))
