from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.convert import companions
from gptoss_mlx.convert.companions import COPIED
from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.tokenizer_files import TOKENIZER_JSON_SHA256
from gptoss_mlx.errors import ConvertError, StorageError, WrongFileError


@pytest.mark.parametrize("layout", [".", "original"])
def test_the_small_files_of_the_release_are_copied(
    source: Path, tmp_path: Path, layout: str
) -> None:
    """Also from the folder around ``original/``, which is released without them."""
    released = tmp_path / "released"
    shutil.copytree(source, released)
    for name in COPIED:
        (released / name).write_text(f"content of {name}")
    (released / "README.md").write_text("OpenAI's")
    heard: list[str] = []
    convert_checkpoint(released / layout, tmp_path / "out", notice=heard.append)

    path = released / layout / "tokenizer.json"
    if layout == "original":
        path = released / "tokenizer.json"
    assert heard == [f"{path} differs from gpt-oss's released file. It is copied."]
    for name in COPIED:
        assert (tmp_path / "out" / name).read_text() == f"content of {name}"
    card = (tmp_path / "out" / "README.md").read_text()
    assert "OpenAI's" not in card
    assert "mlx_lm.chat" in card


def test_a_source_without_them(exact: Path) -> None:
    """The licence and the files that programs need are written anyway."""
    generation = json.loads((exact / "generation_config.json").read_text())

    assert generation == {
        "bos_token_id": 199998,
        "do_sample": True,
        "eos_token_id": [200002, 199999, 200012],
        "pad_token_id": 199999,
    }
    assert "Apache License, Version 2.0" in (exact / "LICENSE").read_text()
    assert not (exact / "tokenizer.json").exists()


def test_the_model_card_of_a_model_of_unknown_size(exact: Path) -> None:
    """It claims no origin but the folder's name."""
    card = (exact / "README.md").read_text()

    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: mlx\n")
    assert "# tiny-exact" in card
    assert "Recipe `exact`: every tensor as released." in card
    assert "base_model" not in card
    assert "openai" not in card
    assert "mlx_lm" not in card  # which has its tokenizer from the folder


def test_the_model_card_of_a_model_of_20bs_size(tmp_path: Path) -> None:
    """It names OpenAI's release as the base model."""
    write_tiny_checkpoint(
        tmp_path / "released",
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=24,
        num_local_experts=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )
    convert_checkpoint(tmp_path / "released", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()

    assert "\nbase_model: openai/gpt-oss-20b\n" in card
    assert "# gpt-oss-20b-q8" in card
    assert "https://huggingface.co/openai/gpt-oss-20b" in card


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are text there")
def test_a_source_whose_name_is_no_text(exact: Path, tmp_path: Path) -> None:
    """The model card shows the bytes escaped."""
    source = tmp_path / os.fsdecode(b"b\xe4d")
    write_tiny_checkpoint(source)
    convert_checkpoint(source, tmp_path / "out")

    assert r"# b\udce4d-q8" in (tmp_path / "out" / "README.md").read_text()


def write_with_the_vocabulary(folder: Path) -> None:
    """Write a tiny checkpoint that has gpt-oss's own vocabulary."""
    write_tiny_checkpoint(
        folder,
        vocab_size=201_088,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_local_experts=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    )


@pytest.mark.parametrize("layout", [".", "original"])
def test_a_source_without_a_tokenizer_gets_the_released_one(
    tmp_path: Path,
    layout: str,
    released_tokenizer: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Byte for byte, and the two small files beside it; the card claims no more."""
    if layout == "original":
        monkeypatch.setattr(companions, "tokenizer_json", lambda: released_tokenizer)
    write_with_the_vocabulary(tmp_path / "released")
    heard: list[str] = []
    out = tmp_path / "out"
    convert_checkpoint(
        tmp_path / "released" / layout, out, recipe="exact", notice=heard.append
    )

    content = (out / "tokenizer.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == TOKENIZER_JSON_SHA256
    assert (out / "tokenizer_config.json").stat().st_size == 4_200
    assert (out / "special_tokens_map.json").stat().st_size == 98
    assert "mlx_lm" not in (out / "README.md").read_text()  # without a chat template
    assert heard == []


def test_small_tokenizer_files_of_the_source_are_kept(
    tmp_path: Path, released_tokenizer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only missing files are made."""
    monkeypatch.setattr(companions, "tokenizer_json", lambda: released_tokenizer)
    write_with_the_vocabulary(tmp_path / "released")
    (tmp_path / "released" / "tokenizer_config.json").write_text("mine")
    convert_checkpoint(tmp_path / "released", tmp_path / "out", recipe="exact")

    assert (tmp_path / "out" / "tokenizer_config.json").read_text() == "mine"
    assert (tmp_path / "out" / "tokenizer.json").exists()


@pytest.fixture
def stranger(source: Path, tmp_path: Path) -> Path:
    """A source that somebody else made, as the Hub's cache has it, in ``models--a--b``."""
    folder = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    folder.parent.mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    (tmp_path / "mine").write_text("my private key")
    shutil.copytree(source, folder)
    return folder


@pytest.mark.parametrize("name", COPIED)
@pytest.mark.parametrize(
    "where", ["mine", "models--a--b/mine", "models--a--b/snapshots/mine"]
)
def test_a_link_out_of_the_source_is_not_followed(
    stranger: Path, tmp_path: Path, name: str, where: str
) -> None:
    """Its target would be copied to a folder that is made to be shared."""
    (tmp_path / where).write_text("my private key")
    (stranger / name).symlink_to(tmp_path / where)

    with pytest.raises(ConvertError) as caught:
        convert_checkpoint(stranger, tmp_path / "out")
    assert str(caught.value) == (
        f"{stranger / name} must be in the source but is a link to {tmp_path / where}."
    )
    assert not any(tmp_path.glob("out*"))


@pytest.mark.parametrize("layout", [".", "original"])
def test_links_of_the_hubs_cache_and_of_the_source_are_followed(
    stranger: Path, tmp_path: Path, layout: str
) -> None:
    """The Hub's cache keeps every file in ``blobs``."""
    blob = tmp_path / "models--a--b" / "blobs" / "f00"
    blob.write_text("the Hub's")
    (stranger / "LICENSE").symlink_to("../../blobs/f00")
    (stranger / "USAGE_POLICY").symlink_to("LICENSE")
    (tmp_path / "link").symlink_to(stranger)
    convert_checkpoint(tmp_path / "link" / layout, tmp_path / "out")

    assert (tmp_path / "out" / "LICENSE").read_text() == "the Hub's"
    assert (tmp_path / "out" / "USAGE_POLICY").read_text() == "the Hub's"


def make_large(path: Path) -> None:
    """Make a file of 8 GB that takes no room."""
    path.touch()
    os.truncate(path, 8 << 30)


@pytest.mark.parametrize("name", COPIED)
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, make_large])
def test_a_small_file_that_is_none(
    stranger: Path, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    """It is refused at once: a pipe would block, and 8 GB would fill the memory."""
    make(stranger / name)

    with pytest.raises(WrongFileError, match=name):
        convert_checkpoint(stranger, tmp_path / "out")


@pytest.mark.parametrize("name", ["LICENSE", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_no_companion(
    stranger: Path, tmp_path: Path, name: str
) -> None:
    """The hint is how to download the file, as for shards."""
    (stranger / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")

    with pytest.raises(WrongFileError, match="Git LFS") as caught:
        convert_checkpoint(stranger, tmp_path / "out")
    assert caught.value.hint == "Fetch the file itself: git lfs pull"


def test_a_link_that_points_to_itself(stranger: Path, tmp_path: Path) -> None:
    """The error has the system's reason and the file's name."""
    (stranger / "LICENSE").symlink_to("LICENSE")

    with pytest.raises(StorageError, match="LICENSE: Too many levels of symbolic links"):
        convert_checkpoint(stranger, tmp_path / "out")
