from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from local_hub import Hub

from gptoss_mlx.errors import DownloadError, NoSpaceError, UnsupportedModelError
from gptoss_mlx.sharing.download import (
    Progress,
    check_release,
    fetch_release,
    find_release,
)
from gptoss_mlx.sharing.releases import RELEASES, Release


@pytest.fixture
def hub(local_hub: Hub) -> Hub:
    """A Hub with one small repository."""
    local_hub.files.update(
        {
            "config.json": b"{}",
            "model-00000-of-00001.safetensors": bytes(range(256)) * 40,
            "original/model.safetensors": b"the same again",
            "metal/model.bin": b"and again",
        }
    )
    return local_hub


def download(hub: Hub, release: Release, progress: Progress | None = None) -> Path:
    """Fetch and check, as the command does."""
    folder = fetch_release(release, endpoint=hub.address)
    check_release(folder, release, progress=progress)
    return folder


def test_a_release_is_fetched_and_checked(hub: Hub) -> None:
    """Its root alone; the progress ends with all bytes of the shards."""
    heard: list[tuple[int, int]] = []
    folder = download(hub, hub.release(), lambda *numbers: heard.append(numbers))

    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model-00000-of-00001.safetensors",
    ]
    assert (folder / "config.json").read_bytes() == b"{}"
    assert heard[-1] == (10_240, 10_240)


def test_what_is_here_is_not_fetched_again(hub: Hub) -> None:
    """The second time nothing is asked for."""
    first = download(hub, hub.release())
    hub.asked.clear()

    assert download(hub, hub.release()) == first
    assert hub.asked == []


def test_a_shard_that_differs_is_refused_and_fetched_again(hub: Hub) -> None:
    """It is removed, so that the same command gets it right afterwards."""
    release = hub.release()
    name = "model-00000-of-00001.safetensors"
    right = hub.files[name]
    hub.files[name] = right[:-1] + b"\0"
    with pytest.raises(DownloadError, match=r"must have sha256 \w+ but has") as caught:
        download(hub, release)
    assert caught.value.hint == (
        "It was removed. Fetch it again: gptoss-mlx download openai/gpt-oss-tiny"
    )

    hub.files[name] = right
    folder = download(hub, release)
    assert (folder / name).read_bytes() == right


def test_a_disk_that_is_too_small_is_said_before(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is fetched."""
    full = shutil.disk_usage("/")._replace(free=5_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)

    with pytest.raises(NoSpaceError, match=r"must have 0\.0 GB free"):
        download(hub, hub.release())
    assert hub.asked == []


def test_a_hub_that_cannot_be_reached(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the repository, the hint the command."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(DownloadError, match="openai/gpt-oss-tiny must be reachable") as e:
        fetch_release(hub.release(), endpoint="http://127.0.0.1:9")
    assert e.value.hint.endswith("gptoss-mlx download openai/gpt-oss-tiny")


@pytest.mark.parametrize("name", ["20b", "gpt-oss-20b", "openai/gpt-oss-20b", "20B"])
def test_the_names_of_a_release(name: str) -> None:
    """Short or long, they are the same repository."""
    assert find_release(name).repository == "openai/gpt-oss-20b"


def test_another_model_is_refused() -> None:
    """Only the two that this package is for can be had."""
    with pytest.raises(UnsupportedModelError, match="must be 20b or 120b but is 'llama'"):
        find_release("llama")


def test_the_releases_have_the_sizes_that_openai_says() -> None:
    """All shards of both, headers included."""
    assert RELEASES["20b"].nbytes == 13_761_316_904
    assert len(RELEASES["120b"].shards) == 15
    assert round(RELEASES["120b"].nbytes / 1e9, 2) == 65.25
