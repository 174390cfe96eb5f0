from __future__ import annotations

import errno
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from local_hub import COMMIT, Answer, Asked, Hub

from gptoss_mlx.errors import DownloadError, NoSpaceError, UnsupportedModelError
from gptoss_mlx.sharing.download import fetch_release, find_release
from gptoss_mlx.sharing.releases import RELEASES, Release
from gptoss_mlx.sharing.transfer import Progress

SHARD = "model-00000-of-00001.safetensors"
COMMAND = "gptoss-mlx download 20b --recipe exact"


@pytest.fixture
def hub(local_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A Hub with one small repository, which nobody waits long for."""
    monkeypatch.setattr("gptoss_mlx.sharing.transfer.FIRST_PAUSE_S", 0.001)
    local_hub.files.update(
        {
            "config.json": b"{}",
            SHARD: bytes(range(256)) * 4000,
            "original/model.safetensors": b"the same again",
            "metal/model.bin": b"and again",
        }
    )
    return local_hub


class Told:
    """What a download tells while it runs."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def step(self, task: str) -> Iterator[Progress]:
        """Note how far each step is."""
        heard = self.steps.setdefault(task, [])
        yield lambda done, total: heard.append((done, total))


def download(hub: Hub, release: Release, told: Told | None = None) -> Path:
    """Fetch and check, as the command does."""
    told = told or Told()
    return fetch_release(
        release, command=COMMAND, say=told.said.append, step=told.step, endpoint=hub.address
    )


def blobs(tmp_path: Path) -> Path:
    """The folder of the files themselves."""
    return tmp_path / "cache" / "models--openai--gpt-oss-tiny" / "blobs"


def partial(tmp_path: Path, release: Release, name: str = SHARD) -> Path:
    """Where a file is put together."""
    return blobs(tmp_path) / f"{release.files[name].sha256}.gptoss-mlx.incomplete"


def test_a_release_is_fetched_and_checked(hub: Hub, tmp_path: Path) -> None:
    """Its pinned files alone, into the layout that other programs read."""
    told = Told()
    release = hub.release()
    folder = download(hub, release, told)

    assert sorted(hub.asked) == ["config.json", SHARD]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", SHARD]
    assert (folder / "config.json").read_bytes() == b"{}"
    assert (folder / SHARD).readlink() == Path("../../blobs", release.files[SHARD].sha256)
    # What git calls a file that holds {}.
    assert (folder / "config.json").resolve().name == (
        "9e26dfeeb6e641a33dae4961196235bdb965b21b"
    )
    assert len(list(blobs(tmp_path).iterdir())) == 2
    assert told.steps["Downloading"][0] == (0, 1_024_002)
    assert told.steps["Downloading"][-1] == (1_024_002, 1_024_002)
    assert told.steps["Checking"][-1] == (1_024_002, 1_024_002)
    assert told.said == ["Downloading openai/gpt-oss-tiny, 1.0 MB."]


def test_other_programs_find_what_was_fetched(hub: Hub, tmp_path: Path) -> None:
    """huggingface_hub itself finds it, without a request to the Hub."""
    from huggingface_hub import try_to_load_from_cache

    folder = download(hub, hub.release())

    assert try_to_load_from_cache(
        "openai/gpt-oss-tiny", SHARD, revision=COMMIT, cache_dir=tmp_path / "cache"
    ) == str(folder / SHARD)


def test_what_is_here_is_not_fetched_again(hub: Hub) -> None:
    """The second time nothing is asked for, and everything is checked."""
    first = download(hub, hub.release())
    hub.requests.clear()
    told = Told()

    assert download(hub, hub.release(), told) == first
    assert hub.requests == []
    assert list(told.steps) == ["Checking"]


def test_what_other_programs_have_fetched_is_used_offline(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain files in the snapshot's folder, and no list of what the repository holds."""
    snapshot = blobs(tmp_path).parent / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for name in ("config.json", SHARD):
        (snapshot / name).write_bytes(bytes(hub.files[name]))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert download(hub, hub.release()) == snapshot
    assert hub.requests == []


@pytest.mark.parametrize("have", [0, 1, 500_000, 1_023_999, 1_024_000])
def test_a_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path, have: int) -> None:
    """It asks for what is missing, and says what was here."""
    release = hub.release()
    blobs(tmp_path).mkdir(parents=True)
    partial(tmp_path, release).write_bytes(bytes(hub.files[SHARD])[:have])
    told = Told()
    folder = download(hub, release, told)

    assert (folder / SHARD).read_bytes() == hub.files[SHARD]
    starts = [asked.start for asked in hub.requests if asked.name == SHARD]
    assert starts == ([have] if have < 1_024_000 else [])
    if have == 500_000:
        assert told.steps["Downloading"][0] == (500_000, 1_024_002)
        assert told.said[0].endswith("1.0 MB, of which 0.5 MB are here.")


def test_a_hub_without_ranges(hub: Hub, tmp_path: Path) -> None:
    """Bytes that it sends again are skipped, so the beginning is not written twice."""
    release = hub.release()
    blobs(tmp_path).mkdir(parents=True)
    partial(tmp_path, release).write_bytes(bytes(hub.files[SHARD])[:700_000])
    hub.ranges = False

    folder = download(hub, release)
    assert (folder / SHARD).read_bytes() == hub.files[SHARD]


def test_a_beginning_that_is_wrong_is_fetched_once_more(hub: Hub, tmp_path: Path) -> None:
    """It starts at byte 0, and a message says so."""
    release = hub.release()
    blobs(tmp_path).mkdir(parents=True)
    partial(tmp_path, release).write_bytes(b"x" * 1000)
    told = Told()
    folder = download(hub, release, told)

    assert (folder / SHARD).read_bytes() == hub.files[SHARD]
    assert [a.start for a in hub.requests if a.name == SHARD] == [1000, 0]
    assert f"{SHARD}: not as released. Downloading again from byte 0." in told.said


def test_parts_that_huggingface_hub_left_are_used_or_removed(
    hub: Hub, tmp_path: Path
) -> None:
    """The longest that was written from its beginning on."""
    release = hub.release()
    data, sum_ = bytes(hub.files[SHARD]), release.files[SHARD].sha256
    blobs(tmp_path).mkdir(parents=True)
    (blobs(tmp_path) / f"{sum_}.0a1b2c3d.incomplete").write_bytes(data[:300_000])
    (blobs(tmp_path) / f"{sum_}.incomplete").write_bytes(data[:600_000])
    (blobs(tmp_path) / f"{sum_}.ffffffff.incomplete").write_bytes(data + b"more")
    with (blobs(tmp_path) / f"{sum_}.eeeeeeee.incomplete").open("wb") as file:
        file.seek(1_000_000)  # As Xet leaves it, which writes the end first.
        file.write(data[1_000_000:])
    config = hashlib.sha1(b"blob 2\0{}", usedforsecurity=False).hexdigest()
    (blobs(tmp_path) / f"{config}.12345678.incomplete").write_bytes(b"{")

    download(hub, release)
    assert [a.start for a in hub.requests if a.name == SHARD] == [600_000]
    assert len(list(blobs(tmp_path).iterdir())) == 2


def test_connections_that_drop_are_made_again(hub: Hub) -> None:
    """Each goes on where the one before stopped, and each is told."""
    data = bytes(hub.files[SHARD])

    def cut(asked: Asked) -> Answer | None:
        if asked.name != SHARD or asked.start >= 900:
            return None
        length = str(len(data) - asked.start)
        span = f"bytes {asked.start}-{len(data) - 1}/{len(data)}"
        headers = {"Content-Length": length, "Content-Range": span}
        return Answer(206, headers, data[asked.start : asked.start + 300])

    hub.lie = cut
    told = Told()
    folder = download(hub, hub.release(), told)

    assert (folder / SHARD).read_bytes() == data
    assert [a.start for a in hub.requests if a.name == SHARD] == [0, 300, 600, 900]
    assert sum("Trying again in" in line for line in told.said) == 3


def test_a_hub_that_has_no_time_is_given_up_in_the_end(hub: Hub) -> None:
    """After five requests, and the error has the status."""
    hub.lie = lambda asked: Answer(503, {"Content-Length": "0"})

    with pytest.raises(DownloadError, match="status 503") as caught:
        download(hub, hub.release())
    assert caught.value.hint.endswith(COMMAND)
    assert 5 <= len(hub.requests) <= 10


def test_a_hub_that_does_not_answer_is_not_waited_for(hub: Hub) -> None:
    """The wait ends after ``patience_s``."""
    hub.lie = lambda asked: time.sleep(2)
    began = time.monotonic()

    with pytest.raises(DownloadError, match="no answer in 1 s"):
        fetch_release(hub.release(), command="x", endpoint=hub.address, patience_s=0.6)
    assert time.monotonic() - began < 1.8


def test_a_file_that_is_wrong_twice_is_refused(hub: Hub, tmp_path: Path) -> None:
    """It is removed, so that the same command gets it right afterwards."""
    release = hub.release()
    right = bytes(hub.files[SHARD])
    hub.files[SHARD] = right[:-1] + b"\0"
    with pytest.raises(DownloadError, match="with another sha256"):
        download(hub, release)
    assert not any(release.files[SHARD].sha256 in p.name for p in blobs(tmp_path).iterdir())

    hub.files[SHARD] = right
    assert (download(hub, release) / SHARD).read_bytes() == right


def test_a_file_in_the_cache_that_is_wrong_is_fetched(hub: Hub) -> None:
    """Whichever program has damaged it."""
    release = hub.release()
    folder = download(hub, release)
    (folder / "config.json").write_bytes(b"[]")
    (folder / SHARD).write_bytes(b"cut short")

    assert download(hub, release) == folder
    assert (folder / "config.json").read_bytes() == b"{}"
    assert (folder / SHARD).read_bytes() == hub.files[SHARD]


def test_two_downloads_at_once(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, says so, and fetches nothing."""
    monkeypatch.setattr("gptoss_mlx.sharing.hub_cache.LOCK_WAIT_S", 0.05)
    hub.rate = 1_500_000.0
    first = threading.Thread(target=download, args=(hub, hub.release()))
    first.start()
    while not hub.requests:
        time.sleep(0.005)
    told = Told()
    folder = download(hub, hub.release(), told)
    first.join()

    assert (folder / SHARD).read_bytes() == hub.files[SHARD]
    assert sorted(hub.asked) == ["config.json", SHARD]
    assert told.said == ["Waiting for another program, which is downloading config.json."]


def test_a_disk_that_is_too_small_is_said_before(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is downloaded."""
    full = shutil.disk_usage("/")._replace(free=5_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: full)

    with pytest.raises(NoSpaceError, match=r"must have 0\.0 GB free"):
        download(hub, hub.release())
    assert hub.requests == []


def test_a_disk_that_fills_up_midway(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named, what was written stays, and the hint is about space."""
    release = hub.release()

    def write(descriptor: int, data: bytes) -> int:
        if os.fstat(descriptor).st_size > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(descriptor, data)

    real_write = os.write
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(NoSpaceError, match=r"\.incomplete: No space left") as caught:
        download(hub, release)
    monkeypatch.undo()
    assert caught.value.hint == "Free some space, then run the same command again."
    assert partial(tmp_path, release).stat().st_size > 100_000


@pytest.mark.parametrize("name", ["20b", "gpt-oss-20b", "openai/gpt-oss-20b", "20B"])
def test_the_names_of_a_release(name: str) -> None:
    """Short or long, they are the same repository."""
    assert find_release(name).repository == "openai/gpt-oss-20b"


def test_another_model_is_refused() -> None:
    """Only the two that this package is for can be had."""
    with pytest.raises(UnsupportedModelError, match="must be 20b or 120b but is 'llama'"):
        find_release("llama")


@pytest.mark.parametrize(("size", "shards", "gb"), [("20b", 3, 13.79), ("120b", 15, 65.28)])
def test_every_file_of_a_release_is_pinned(size: str, shards: int, gb: float) -> None:
    """Weights, index, config and tokenizer."""
    release = RELEASES[size]

    assert sum(name.endswith(".safetensors") for name in release.files) == shards
    assert round(release.nbytes / 1e9, 2) == gb
    assert all(len(pin.sha256) == 64 for pin in release.files.values())
    assert {
        "config.json",
        "generation_config.json",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "model.safetensors.index.json",
    } <= release.files.keys()
