"""Ctrl-C, signals and SIGKILL during a download, then the same command again."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from evidence import Note
from interrupted_download import REPOSITORY, Repeated, end, pin, start, wait_for_requests
from local_hub import COMMIT, Hub, serve_hub

from gptoss_mlx.sharing.releases import Release

SHARD = "model-00000-of-00001.safetensors"
GOES_ON = "Stopped. To continue: gptoss-mlx download 20b --recipe exact\n"
END_S = 2.0

pytestmark = pytest.mark.usefixtures("ctrl_c_is_heard")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A Hub that sends 50 MB/s."""
    with serve_hub() as hub:
        hub.rate = 50e6
        yield hub


def fill(hub: Hub, **sizes: int) -> Release:
    """Give the Hub files of these sizes."""
    files = {name: Repeated(size, seed) for seed, (name, size) in enumerate(sizes.items())}
    hub.files.update(files)
    return Release(REPOSITORY, COMMIT, {name: pin(data) for name, data in files.items()})


def have(home: Path, release: Release) -> dict[str, int]:
    """Bytes of each file that are on the disk, whole or in part."""
    blobs = home / "hf" / "hub" / "models--openai--gpt-oss-tiny" / "blobs"
    return {
        name: sum(path.stat().st_size for path in blobs.glob(f"{pin.sha256}*"))
        for name, pin in release.files.items()
    }


def is_right(home: Path, hub: Hub) -> bool:
    """Tell whether the snapshot has every byte, and nothing else is left."""
    folder = home / "hf" / "hub" / "models--openai--gpt-oss-tiny"
    snapshot = folder / "snapshots" / COMMIT
    for name, data in hub.files.items():
        with (snapshot / name).open("rb") as file:
            assert isinstance(data, Repeated)
            if any(file.read(len(piece)) != piece for piece in data.pieces()):
                return False
    return len(list((folder / "blobs").iterdir())) == len(hub.files)


def test_ctrl_c_twice_ends_a_download_and_the_same_command_goes_on(
    hub: Hub, tmp_path: Path
) -> None:
    """Within two seconds, and at the byte where it stopped."""
    hub.rate = 4e6
    release = fill(hub, **{"config.json": 100, SHARD: 3_000_000})
    process = start(hub.address, release, tmp_path)
    wait_for_requests(hub, 2)
    time.sleep(0.2)
    seconds, told = end(process, signal.SIGINT, signal.SIGINT)

    assert seconds <= END_S
    assert process.returncode == 130
    assert told.endswith(GOES_ON)
    before = have(tmp_path, release)[SHARD]
    assert 0 < before < 3_000_000

    hub.rate = None
    process = start(hub.address, release, tmp_path)
    output, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert output.endswith("gpt-oss-tiny-exact\n")
    assert [a.start for a in hub.requests if a.name == SHARD] == [0, before]
    assert is_right(tmp_path, hub)


def test_ctrl_c_of_a_download_that_is_converted_as_it_arrives(
    hub: Hub, tmp_path: Path
) -> None:
    """Within two seconds; the command that continues has the option too."""
    hub.rate = 4e6
    release = fill(hub, **{"config.json": 3_000_000})
    process = start(hub.address, release, tmp_path, options=["--convert"])
    wait_for_requests(hub, 1)
    time.sleep(0.2)
    seconds, told = end(process, signal.SIGINT, signal.SIGINT)

    assert seconds <= END_S
    assert process.returncode == 130
    assert told.endswith(GOES_ON.replace("exact", "exact --convert"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "signals",
    [
        [signal.SIGINT],
        [signal.SIGINT, signal.SIGINT],
        [signal.SIGTERM],
        [signal.SIGTERM, signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGINT, signal.SIGTERM],
    ],
    ids=lambda signals: "+".join(number.name for number in signals),
)
@pytest.mark.parametrize("hangs", ["name", "connection", "TLS", "headers", "body"])
def test_a_signal_ends_a_download_whatever_hangs(
    hub: Hub, tmp_path: Path, hangs: str, signals: list[signal.Signals]
) -> None:
    """Within two seconds, and the command that goes on is named."""
    with hanging(hub, hangs) as (endpoint, prelude):
        release = fill(hub, **{"config.json": 100, SHARD: 1000})
        process = start(endpoint, release, tmp_path, prelude=prelude)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Downloading")
        time.sleep(0.5)
        seconds, told = end(process, *signals)

    assert seconds <= END_S
    assert process.returncode in [128 + number for number in signals]
    assert told.endswith(GOES_ON)


@contextmanager
def hanging(hub: Hub, what: str) -> Iterator[tuple[str, str]]:
    """Give an endpoint where this hangs, and what the program runs first for that."""
    patient = "import huggingface_hub.constants as c; c.HF_HUB_DOWNLOAD_TIMEOUT = 600"
    if what == "name":
        slow = "import socket, time; socket.getaddrinfo = lambda *_, **__: time.sleep(600)"
        yield "http://hub.invalid", slow
    elif what == "headers":
        hub.lie = lambda asked: time.sleep(600)
        yield hub.address, patient
    elif what == "body":
        hub.rate = 0.1
        yield hub.address, patient
    else:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            if what == "TLS":
                server.listen(8)
                yield f"https://{address}", patient
                return
            # The system takes no third connection while nobody accepts these.
            with socket.create_connection(server.getsockname()), socket.socket() as second:
                second.setblocking(False)
                second.connect_ex(server.getsockname())
                yield f"http://{address}", patient


@pytest.mark.slow
def test_a_download_of_1_gb_that_is_interrupted_20_times(
    hub: Hub, tmp_path: Path, note: Note
) -> None:
    """Each end takes 2 s at most, all is right in the end, nothing is written twice."""
    release = fill(
        hub,
        **{
            "config.json": 2000,
            "tokenizer.json": 28_000_000,
            "model-00000-of-00002.safetensors": 300_000_000,
            "model-00001-of-00002.safetensors": 400_000_000,
            "model-00002-of-00002.safetensors": 272_000_000,
        },
    )
    moments = random.Random(20)
    twice, slowest = 0, 0.0
    for i in range(20):
        before, asked = have(tmp_path, release), len(hub.requests)
        process = start(hub.address, release, tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.3, 1.8))
        if i % 2:
            seconds, told = end(process, signal.SIGINT)
            if "Downloading" in told:
                assert process.returncode == 130
                assert told.endswith(GOES_ON)
        else:
            seconds, _ = end(process, signal.SIGKILL)
        slowest = max(slowest, seconds)
        for request in hub.requests[asked:]:
            twice += max(0, before[request.name] - request.start)
    process = start(hub.address, release, tmp_path)
    _, told = process.communicate(timeout=120)

    assert process.returncode == 0, told
    assert is_right(tmp_path, hub)
    note("ended", slowest)
    note("written_twice", 100 * twice / release.nbytes)
    assert slowest <= END_S
    assert twice <= release.nbytes / 100
