"""Links, pipes and folders where the cache has files: nothing outside it is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from local_hub import COMMIT, Hub

from gptoss_mlx.errors import StorageError, WrongFileError
from gptoss_mlx.sharing.download import fetch_release
from gptoss_mlx.sharing.hub import Hub as Client
from gptoss_mlx.sharing.transfer import Wanted, transfer

SHARD = "model-00000-of-00001.safetensors"
DATA = bytes(range(256)) * 400
WITHOUT_FOLDERS: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, precious: path.symlink_to(precious),
    "hard link": lambda path, precious: path.hardlink_to(precious),
    "dangling link": lambda path, precious: path.symlink_to(precious.with_name("gone")),
    "pipe": lambda path, precious: os.mkfifo(path),
}


@pytest.fixture
def hub(local_hub: Hub) -> Hub:
    """A Hub with one shard."""
    local_hub.files[SHARD] = DATA
    return local_hub


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    """The cache's folder of files."""
    folder = tmp_path / "cache" / "models--openai--gpt-oss-tiny" / "blobs"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of the user's, which begins as the shard does."""
    path = tmp_path / "precious"
    path.write_bytes(DATA[:1000])
    return path


@pytest.mark.parametrize("middle", [".gptoss-mlx", "", ".other"])
@pytest.mark.parametrize("kind", WITHOUT_FOLDERS)
def test_a_link_or_a_pipe_as_partial_file_is_replaced(
    kind: str, middle: str, hub: Hub, blobs: Path, precious: Path
) -> None:
    """The download is right, and the link's target is as it was."""
    release = hub.release()
    path = blobs / f"{release.files[SHARD].sha256}{middle}.incomplete"
    WITHOUT_FOLDERS[kind](path, precious)

    folder = fetch_release(release, command="again", endpoint=hub.address)

    assert (folder / SHARD).read_bytes() == DATA
    assert precious.read_bytes() == DATA[:1000]
    assert not precious.with_name("gone").exists()
    assert [asked.start for asked in hub.requests] == [0]
    assert not path.exists()


@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_a_link_that_appears_during_a_download_is_not_followed(
    kind: str, hub: Hub, blobs: Path, precious: Path
) -> None:
    """It is opened without following it."""
    path = blobs / "partial"
    WITHOUT_FOLDERS[kind](path, precious)
    client = Client("openai/gpt-oss-tiny", COMMIT, endpoint=hub.address, command="again")

    with pytest.raises(StorageError, match=str(path)):
        transfer(
            client,
            [Wanted(SHARD, len(DATA), path)],
            progress=lambda done, total: None,
            say=lambda line: None,
            patience_s=10,
        )
    assert precious.read_bytes() == DATA[:1000]


@pytest.mark.parametrize("suffix", ["", ".gptoss-mlx.incomplete", ".incomplete"])
def test_a_folder_in_a_file_s_place_is_named(suffix: str, hub: Hub, blobs: Path) -> None:
    """Before any request; the hint is the command that removes it."""
    release = hub.release()
    path = blobs / f"{release.files[SHARD].sha256}{suffix}"
    path.mkdir()

    with pytest.raises(WrongFileError, match="must be a file but is a folder") as caught:
        fetch_release(release, command="again", endpoint=hub.address)
    assert str(path) in str(caught.value)
    assert caught.value.hint == f"Remove it: rm -r {path}"
    assert hub.requests == []
