from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest
from tiny_checkpoint import write_tiny_checkpoint

import gptoss_mlx
from gptoss_mlx.checkpoint.folder import open_checkpoint
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.errors import ModelNotFoundError
from gptoss_mlx.model_choice import open_model
from gptoss_mlx.sharing.releases import Pin, Release

NAMES = ("20b", "gpt-oss-20b", "openai/gpt-oss-20b", "OpenAI/GPT-OSS-20B")


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hugging Face cache's folder of 20b. The store is empty, and so is this."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--openai--gpt-oss-20b"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny checkpoint, which is what was released as 20b."""
    folder = tmp_path / "tiny"
    write_tiny_checkpoint(folder)
    names = ("config.json", "model.safetensors")
    files = {name: Pin((folder / name).stat().st_size, "") for name in names}
    release = Release("openai/gpt-oss-20b", "a1", files)
    monkeypatch.setattr("gptoss_mlx.sharing.download.RELEASES", {"20b": release})
    return folder


@pytest.mark.parametrize("name", [*NAMES, "120b", "openai/gpt-oss-120b"])
def test_a_released_model_that_is_not_here(name: str) -> None:
    """One error, and its hint is the command that downloads it; for load_model as well."""
    for load in (gptoss_mlx.load, gptoss_mlx.load_model):
        with pytest.raises(ModelNotFoundError) as caught:
            load(name)

        assert str(caught.value) == f"{name} is not downloaded yet."
        assert caught.value.hint == (
            f"gptoss-mlx download {'120b' if '120' in name else '20b'}"
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("revision", ["a1", "b2"])
def test_a_released_model_in_the_hub_s_cache_is_loaded(
    name: str, revision: str, tiny: Path, hub: Path
) -> None:
    """As any program has downloaded it, of whatever revision; a line says so."""
    folder = hub / "snapshots" / revision
    folder.parent.mkdir(parents=True)
    tiny.rename(folder)
    said: list[str] = []

    assert open_model(name, said.append).folder == folder
    assert said == [f"{name} is read from the Hugging Face cache: {folder}"]


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_download_that_is_not_whole_is_not_loaded(
    missing: str, tiny: Path, hub: Path
) -> None:
    """It is to be downloaded, which goes on where it stopped."""
    folder = hub / "snapshots" / "a1"
    folder.parent.mkdir(parents=True)
    tiny.rename(folder)
    (folder / missing).write_bytes((folder / missing).read_bytes()[:-1])

    with pytest.raises(ModelNotFoundError, match="20b is not downloaded yet"):
        gptoss_mlx.load("20b")


@pytest.mark.parametrize("name", NAMES)
def test_a_converted_model_comes_first(
    name: str, tiny: Path, hub: Path, tmp_path: Path
) -> None:
    """The Hugging Face cache is not looked at."""
    converted = tmp_path / "home" / "models" / "gpt-oss-20b-q8"
    convert_checkpoint(tiny, converted)
    (hub / "snapshots").mkdir(parents=True)
    tiny.rename(hub / "snapshots" / "a1")
    said: list[str] = []

    assert open_model(name, said.append).folder == converted
    assert said == []


def test_load_model_takes_what_load_takes(tiny: Path, tmp_path: Path) -> None:
    """A name, a folder, a path in a text, or a checkpoint that is open."""
    convert_checkpoint(tiny, tmp_path / "home" / "models" / "mine-q8")
    tokens = mx.array([[1, 2, 3]])
    expected = gptoss_mlx.load_model(tiny, dtype=mx.float32)(tokens)

    for given in (str(tiny), open_checkpoint(tiny)):
        logits = gptoss_mlx.load_model(given, dtype=mx.float32)(tokens)
        assert mx.array_equal(logits, expected)
    assert gptoss_mlx.load_model("mine")(tokens).shape == expected.shape


def test_load_model_opens_the_demo_model() -> None:
    """By its name, as load does."""
    assert gptoss_mlx.load_model("demo").config.num_hidden_layers > 0
