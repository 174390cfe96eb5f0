"""Models fetched from another machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from evidence import Note
from folders import digests
from local_hub import Answer, Asked
from local_peer import LocalPeer, serve_peer
from refusals import refused
from small_conversion import convert
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import store
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import (
    ConvertError,
    DestinationExistsError,
    DownloadError,
    NoSpaceError,
)
from gptoss_mlx.manifest_digest import digest_of, model_id
from gptoss_mlx.model_choice import open_model
from gptoss_mlx.sharing.address import Address
from gptoss_mlx.sharing.download import Step
from gptoss_mlx.sharing.pull import pull_model
from gptoss_mlx.sharing.serve import serve

SHARED = "must share one model, or one must be named; it shares"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two recipes of one model, most of which are experts."""
    folder = tmp_path_factory.mktemp("shared")
    write_tiny_checkpoint(folder / "tiny", num_local_experts=128, num_hidden_layers=2)
    convert(folder / "tiny", folder / "tiny-q8", recipe="q8")
    # In one file, so that no file as a whole is the same.
    one_file = {"recipe": "exact", "shard_bytes": 10_000_000}
    convert(folder / "tiny", folder / "tiny-exact", **one_file)
    return folder


@pytest.fixture
def q8(shared: Path) -> Path:
    """One of them."""
    return shared / "tiny-q8"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store, and no waiting between tries."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("gptoss_mlx.sharing.pieces.FIRST_PAUSE_S", 0.001)
    return tmp_path / "home"


def shard_of(peer: LocalPeer) -> str:
    """The second of the weights' files."""
    return sorted(name for name in peer.files if name.endswith(".safetensors"))[1]


@pytest.fixture
def peer(q8: Path) -> Iterator[LocalPeer]:
    """A stand-in that shares it."""
    with serve_peer(q8) as peer:
        yield peer


def test_a_pulled_model_has_the_shared_bytes(q8: Path, home: Path) -> None:
    """Nothing else lies in its folder, verify finds nothing wrong, progress ends full."""
    seen: list[tuple[int, int]] = []
    with serve(q8, host="127.0.0.1", port=0) as server:
        address = Address("127.0.0.1", server.port, "tiny-q8", digest_of(q8)[:32])
        pulled = pull_model(address, step=recorded(seen))

    assert pulled.folder == home / "models" / "tiny-q8"
    assert digests(pulled.folder) == digests(q8)
    assert pulled.digest == digest_of(q8)
    assert seen[-1] == (pulled.nbytes, pulled.nbytes) == (pulled.fetched, pulled.fetched)
    assert verify_checkpoint(pulled.folder).nbytes == pulled.nbytes
    assert [path.name for path in (home / "models").iterdir()] == ["tiny-q8"]


def test_a_pulled_model_is_not_verified_again(
    peer: LocalPeer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte was checked on its way. Another machine knows nothing of that."""
    pulled = pull_model(peer.address(peer.digest))
    said: list[str] = []

    open_model(pulled.folder, said.append)
    assert said == []
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "other"))
    open_model(pulled.folder, said.append)
    assert len(said) == 2


def recorded(seen: list[tuple[int, int]]) -> Step:
    """Return a ``Step`` that records progress."""
    return lambda task: nullcontext(lambda done, total: seen.append((done, total)))


def test_without_a_digest_the_server_is_trusted_and_its_digest_told(
    q8: Path, peer: LocalPeer
) -> None:
    """So that two people can compare it."""
    told: list[str] = []

    pull_model(peer.address(), say=told.append)

    assert told[0] == (
        "No digest was named, so 127.0.0.1 is trusted to send what it should: "
        f"{model_id('tiny-q8', digest_of(q8))}"
    )


def test_the_only_shared_model_needs_no_name(q8: Path) -> None:
    """Its address is enough."""
    with serve(q8, host="127.0.0.1", port=0) as server:
        pulled = pull_model(Address("127.0.0.1", server.port, None, None))

    assert pulled.folder.name == "tiny-q8"


def test_one_of_several_shared_models_must_be_named(shared: Path) -> None:
    """The error lists them."""
    with serve(
        shared / "tiny-q8", shared / "tiny-exact", host="127.0.0.1", port=0
    ) as server:
        address = Address("127.0.0.1", server.port, None, None)

        message = f"127.0.0.1 {SHARED} tiny-q8, tiny-exact."
        refused(pull_model, address, DownloadError, message)


def test_a_model_that_is_here_is_not_fetched_again(q8: Path, peer: LocalPeer) -> None:
    """Only the manifest is."""
    pull_model(peer.address())
    peer.sent = 0
    told: list[str] = []

    pulled = pull_model(peer.address(digest_of(q8)), say=told.append)

    assert told == [f"Already here: {pulled.folder}"]
    assert peer.sent == len(peer.files["manifest.json"])


def test_another_model_of_that_name_is_kept(peer: LocalPeer, home: Path) -> None:
    """The hint is how to remove it."""
    other = home / "models" / "tiny-q8"
    other.mkdir(parents=True)
    (other / "mine").write_text("mine")

    error = refused(
        pull_model,
        peer.address(),
        DestinationExistsError,
        f"{other} must not exist, or must be the same model, but it is another one.",
    )
    assert error.hint == "Remove or rename it first: gptoss-mlx models rm tiny-q8"
    assert [path.name for path in other.iterdir()] == ["mine"]


def test_the_experts_of_another_recipe_are_copied(shared: Path, home: Path) -> None:
    """At most 30 % of the bytes of ``exact`` are sent where ``q8`` is here."""
    home.joinpath("models").mkdir(parents=True)
    home.joinpath("models", "tiny-q8").symlink_to(shared / "tiny-q8")

    with serve_peer(shared / "tiny-exact") as peer:
        pulled = pull_model(peer.address(peer.digest))

    assert digests(pulled.folder) == digests(shared / "tiny-exact")
    manifest = len(peer.files["manifest.json"])
    assert peer.sent == pulled.fetched + manifest
    assert pulled.fetched / pulled.nbytes < 0.3
    assert pulled.fetched + pulled.copied >= pulled.nbytes


def test_a_damaged_copy_here_is_fetched_instead(shared: Path, home: Path) -> None:
    """A file that comes out wrong is fetched once more, without what is here."""
    pull_to(shared / "tiny-q8")
    for path in (home / "models" / "tiny-q8").glob("*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-2000] ^= 1
        path.write_bytes(content)
    told: list[str] = []

    pulled = pull_to(shared / "tiny-exact", told)

    assert digests(pulled) == digests(shared / "tiny-exact")
    assert any("not as shared. Fetching again from byte 0." in line for line in told)


def pull_to(folder: Path, told: list[str] | None = None) -> Path:
    """Pull a folder from a stand-in."""
    lines: list[str] = [] if told is None else told
    with serve_peer(folder) as peer:
        return pull_model(peer.address(peer.digest), say=lines.append).folder


@pytest.mark.parametrize("keep", [1, 7, 1000, 399_999])
def test_a_pull_continues_at_any_byte(
    q8: Path, peer: LocalPeer, home: Path, keep: int
) -> None:
    """What is here is not sent again."""
    stopped(peer)
    partial = home / "models" / "tiny-q8.partial"
    (partial / shard_of(peer)).write_bytes(peer.files[shard_of(peer)][:keep])
    here = sum(path.stat().st_size for path in partial.iterdir() if path.name[0] != ".")
    told: list[str] = []

    pulled = pull_model(peer.address(peer.digest), say=told.append)

    assert digests(pulled.folder) == digests(q8)
    assert pulled.fetched == pulled.nbytes - here
    assert any(line.startswith(f"Continuing: {here / 1e6:.1f} MB of ") for line in told)


def stopped(peer: LocalPeer) -> None:
    """Pull, and stop when the second of the weights' files is asked for."""
    peer.lie = lambda asked: Answer(404) if asked.name == shard_of(peer) else None
    with pytest.raises(DownloadError):
        pull_model(peer.address(peer.digest))
    peer.lie = lambda asked: None


def test_damaged_bytes_of_an_earlier_run_are_fetched_again(
    q8: Path, peer: LocalPeer, home: Path
) -> None:
    """A power cut may leave zeros where a file's end was."""
    stopped(peer)
    place = home / "models" / "tiny-q8.partial" / shard_of(peer)
    place.write_bytes(peer.files[shard_of(peer)][:1000] + bytes(5000))
    told: list[str] = []

    pulled = pull_model(peer.address(peer.digest), say=told.append)

    assert digests(pulled.folder) == digests(q8)
    assert f"{shard_of(peer)}: not as shared. Fetching again from byte 0." in told


def linked(place: Path) -> None:
    """A link to a file outside of the folder."""
    place.unlink(missing_ok=True)
    place.symlink_to(place.parents[3] / "outside")


def hard_linked(place: Path) -> None:
    """A second name of a file outside of the folder."""
    place.unlink(missing_ok=True)
    os.link(place.parents[3] / "outside", place)


def a_folder(place: Path) -> None:
    """A folder with a file in it."""
    place.unlink(missing_ok=True)
    place.mkdir()
    (place / "x").write_bytes(b"x")


def a_pipe(place: Path) -> None:
    """A pipe without a reader."""
    place.unlink(missing_ok=True)
    os.mkfifo(place)


def too_long(place: Path) -> None:
    """More bytes than the file may have."""
    place.write_bytes(bytes(1_000_000))


@pytest.mark.parametrize("put", [linked, hard_linked, a_folder, a_pipe, too_long])
def test_what_is_no_part_of_the_file_is_removed(
    q8: Path, peer: LocalPeer, home: Path, put: Callable[[Path], None], tmp_path: Path
) -> None:
    """Nothing is written outside the folder."""
    (tmp_path / "outside").write_bytes(b"mine")
    stopped(peer)
    put(home / "models" / "tiny-q8.partial" / shard_of(peer))

    pulled = pull_model(peer.address(peer.digest))

    assert digests(pulled.folder) == digests(q8)
    assert (tmp_path / "outside").read_bytes() == b"mine"


def test_another_version_starts_over(q8: Path, peer: LocalPeer, home: Path) -> None:
    """Bytes of two versions are never mixed."""
    stopped(peer)
    peer.put("README.md", b"Another version.")

    pulled = pull_model(peer.address(peer.digest))

    assert (pulled.folder / "README.md").read_bytes() == b"Another version."
    assert pulled.fetched == pulled.nbytes


def test_a_busy_machine_is_asked_again(q8: Path, peer: LocalPeer) -> None:
    """It is told why."""
    busy = iter([Answer(503, {"Content-Length": "0"})] * 3)
    peer.lie = lambda asked: next(busy, None) if asked.name == shard_of(peer) else None
    told: list[str] = []

    pulled = pull_model(peer.address(peer.digest), say=told.append)

    assert digests(pulled.folder) == digests(q8)
    assert any("answers with status 503. Trying again in 0 s." in x for x in told)


def test_what_all_connections_find_is_told_once(
    peer: LocalPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the other machine has stopped sharing."""
    monkeypatch.setattr("gptoss_mlx.sharing.pieces.FIRST_PAUSE_S", 0.01)
    busy = Answer(503, {"Content-Length": "0"})
    peer.lie = lambda asked: busy if asked.name == shard_of(peer) else None
    told: list[str] = []

    with pytest.raises(DownloadError, match="answers with status 503"):
        pull_model(peer.address(peer.digest), say=told.append)

    assert sum("Trying again" in line for line in told) == 1


def test_a_full_disk_is_told_before_anything_is_fetched(
    peer: LocalPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is needed and what is free."""
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Disk", (), {"free": 1000}))
    peer.sent = 0

    with pytest.raises(NoSpaceError, match=r"must have \d\.\d MB free but has 0\.0 MB"):
        pull_model(peer.address(peer.digest))
    assert peer.sent == len(peer.files["manifest.json"])
    assert list(store.models_folder().iterdir()) == []


def test_two_pulls_of_one_model_do_not_mix(peer: LocalPeer) -> None:
    """The second one is refused while the first one writes."""
    errors: list[Exception] = []

    def again(asked: Asked) -> None:
        if asked.name == shard_of(peer) and not errors:
            errors.append(RuntimeError())
            try:
                pull_model(peer.address(peer.digest))
            except ConvertError as error:
                errors.append(error)

    peer.lie = again
    pull_model(peer.address(peer.digest))

    assert "is being written by another process" in str(errors[1])


def test_a_machine_that_is_not_there_is_named(home: Path) -> None:
    """Nothing is left in the store."""
    address = Address("127.0.0.1", 9, "tiny-q8", None)

    message = "127.0.0.1 must be reachable but is not: Connection refused."
    error = refused(pull_model, address, DownloadError, message)
    assert error.hint.startswith("Check that gptoss-mlx share still runs there.")
    assert error.hint.endswith("gptoss-mlx pull http://127.0.0.1:9/tiny-q8")
    assert store.models() == []


def test_a_name_that_is_no_machine_may_be_of_the_hub(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``pull ada/gpt-oss-20b-q8`` looks for a machine called ada."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    address = Address("ada", 9, "gpt-oss-20b-q8", None)

    message = "ada must be reachable but is not: the host name cannot be resolved."
    error = refused(pull_model, address, DownloadError, message)
    assert "gptoss-mlx download USER/REPO" in error.hint


# Each try is a fork, which has imported everything before. It is killed once it has
# written some more bytes, wherever it is then.
KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import hashlib, httpx2
from gptoss_mlx.checkpoint import folder
from gptoss_mlx.sharing import local_bytes, pieces, pulled_files, segments
from gptoss_mlx.sharing.address import Address
from gptoss_mlx.sharing.download import Step
from gptoss_mlx.sharing.pull import pull_model
for module in (local_bytes, pieces, pulled_files, segments):
    module.PIECE_BYTES = 20_000
port, digest, partial, total = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), 20
random.seed(5)

def written():
    try:
        return sum(path.stat().st_size for path in partial.iterdir())
    except FileNotFoundError:
        return 0

kills = []
for left in range(total, 0, -1):
    more = written() + random.randrange(int(sys.argv[4]) // 2 // total)
    child = os.fork()
    if not child:
        pull_model(Address("127.0.0.1", port, "tiny-q8", digest))
        os._exit(0)
    while written() < more and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.001)
    time.sleep(random.random() * 0.002)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    kills.append(written())
print(json.dumps(kills))
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS allows no fork after MLX")
def test_killed_20_times_and_continued(
    q8: Path, peer: LocalPeer, home: Path, note: Note
) -> None:
    """After SIGKILL at any moment the next pull continues, and ends with the same bytes."""
    # A short wait before each answer, so that no pull is quicker than the kill.
    peer.lie = lambda asked: time.sleep(0.01)
    partial = home / "models" / "tiny-q8.partial"
    nbytes = sum(len(content) for content in peer.files.values())
    place = [str(peer.port), peer.digest, str(partial), str(nbytes)]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *place],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    kills: list[int] = json.loads(done.stdout)
    pulled = pull_model(peer.address(peer.digest))

    assert len(kills) == 20
    assert kills == sorted(kills)
    assert len(set(kills)) > 10
    assert digests(pulled.folder) == digests(q8)
    assert [path.name for path in (home / "models").iterdir()] == ["tiny-q8"]
    note("killed_pulls", len(kills))
