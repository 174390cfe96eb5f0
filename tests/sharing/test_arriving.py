"""Downloads that are converted file by file, and not kept."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from evidence import Note
from folders import digests
from killed import kill_at_random
from local_hub import COMMIT, Answer, Asked, Hub
from small_checkpoint import MODEL, deal, write_shards
from tiny_checkpoint import read_tensors, write_tiny_checkpoint

from gptoss_mlx.convert import pipeline
from gptoss_mlx.errors import DownloadError, NoSpaceError
from gptoss_mlx.sharing.get import get_model
from gptoss_mlx.sharing.transfer import Progress

FILES = [f"model-0000{i}-of-00004.safetensors" for i in range(5)]


@pytest.fixture
def hub(local_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A Hub with a tiny model in five files, and a machine without models."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("gptoss_mlx.sharing.transfer.FIRST_PAUSE_S", 0.001)
    released = tmp_path / "released"
    write_tiny_checkpoint(released)
    write_shards(released, deal(read_tensors(released / MODEL), FILES), index=True)
    for path in released.iterdir():
        if path.is_file():
            local_hub.files[path.name] = path.read_bytes()
    local_hub.files.pop(MODEL, None)
    return local_hub


@pytest.fixture
def whole(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """What the ordinary download makes. Nothing else is left of it."""
    folder = get_model(hub.release(), "q8", endpoint=hub.address)
    found = digests(folder)
    shutil.rmtree(tmp_path / "home")
    shutil.rmtree(tmp_path / "cache")
    hub.requests.clear()
    return found


def convert(hub: Hub, recipe: str = "q8", **options: object) -> Path:
    """Download and convert, and keep nothing else."""
    chosen = {"keep": False, "endpoint": hub.address, **options}
    return get_model(hub.release(), recipe, **chosen)  # type: ignore[arg-type]


def fetched(hub: Hub) -> list[str]:
    """The names of the files that were asked for, in order, without requests of headers."""
    return [a.name for a in hub.requests if not is_for_header(a)]


def is_for_header(asked: Asked) -> bool:
    """Whether a request ends before the file does."""
    return not asked.headers.get("range", "-").endswith("-")


def sources(tmp_path: Path) -> list[Path]:
    """The files of the download that are on the disk."""
    return [
        path
        for path in (tmp_path / "home" / "models" / ".incoming").rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix != ".lock"
    ]


def nbytes_in(folder: Path) -> int:
    """Bytes of the files in a folder, which may be removed meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(place, name).lstat()
            except FileNotFoundError:
                continue
            total += status.st_size
    return total


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """Look at the bytes in a folder again and again."""
    seen, done = [0], threading.Event()

    def look() -> None:
        while not done.is_set():
            seen[0] = max(seen[0], nbytes_in(folder))
            time.sleep(0.001)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def test_the_result_is_that_of_the_ordinary_download(
    hub: Hub, tmp_path: Path, whole: dict[str, str]
) -> None:
    """Byte by byte; nothing of the download stays, and each byte is sent once."""
    said: list[str] = []
    heard: list[tuple[int, int]] = []

    @contextmanager
    def step(task: str) -> Iterator[Progress]:
        yield lambda done, total: heard.append((done, total))

    folder = convert(hub, say=said.append, step=step)

    assert digests(folder) == whole
    assert sources(tmp_path) == []
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert said[0].startswith("Downloading openai/gpt-oss-tiny, ")
    assert said[-1].startswith("Digest: gpt-oss-tiny-q8@")
    assert heard[-1][0] == heard[-1][1]
    assert sorted(fetched(hub)) == sorted(hub.files)


def test_the_disk_never_holds_more_than_the_result_and_two_files(
    hub: Hub, tmp_path: Path, note: Note
) -> None:
    """Though the next file arrives while one is converted."""
    release = hub.release()
    hub.rate = 3e6
    with watched(tmp_path / "home") as seen:
        folder = convert(hub)

    two = sum(sorted(release.files[name].nbytes for name in FILES)[-2:])
    note("arriving_disk", seen[0] / (nbytes_in(folder) + two))
    assert two < seen[0] <= nbytes_in(folder) + two + 300_000


@pytest.mark.parametrize("moment", [0, 1, 2, 4])
def test_interrupted_then_continued(
    hub: Hub,
    tmp_path: Path,
    whole: dict[str, str],
    moment: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file that is converted is fetched again, and the folder is the same."""
    written: list[Path] = []
    write_shard = pipeline.write_shard

    def interrupted(path: Path, *arguments: object, **options: object) -> object:
        if len(written) == moment:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        written.append(path)
        return write_shard(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert(hub)
    assert not (tmp_path / "home" / "models" / "gpt-oss-tiny-q8").exists()
    hub.requests.clear()
    folder = convert(hub)

    assert digests(folder) == whole
    assert not set(fetched(hub)) & set(FILES[:moment])
    assert sources(tmp_path) == []


def test_another_recipe_after_an_interruption(
    hub: Hub, tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fetches what was removed again, and the disk holds two files still."""
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_write_small_files", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(hub, "exact")
    assert digests(convert(hub)) == whole
    convert(hub, "exact")
    assert not list((tmp_path / "home" / "models").glob("*.partial"))


def stop(*arguments: object) -> None:
    """Press Ctrl-C."""
    raise KeyboardInterrupt


def test_files_of_an_earlier_download_are_used_and_stay(
    hub: Hub, tmp_path: Path, whole: dict[str, str]
) -> None:
    """Once they are checked: a wrong one is fetched instead, and stays as well."""
    get_model(hub.release(), "exact", endpoint=hub.address)
    snapshot = next((tmp_path / "cache").glob("models--*/snapshots/*"))
    wrong = (snapshot / FILES[2]).resolve()
    data = wrong.read_bytes()
    wrong.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (snapshot / FILES[3]).resolve().unlink()
    before = digests(snapshot)
    hub.requests.clear()
    folder = convert(hub)

    assert digests(folder) == whole
    assert {a.name for a in hub.requests} == {FILES[2], FILES[3]}
    assert digests(snapshot) == before


def flip_last(hub: Hub) -> None:
    """Change the last byte of a file."""
    data = bytes(hub.files[FILES[3]])
    hub.files[FILES[3]] = data[:-1] + bytes([data[-1] ^ 1])


def lie_about_a_header(hub: Hub) -> None:
    """Send another header at first, of the same form, and the true file later."""
    data = bytes(hub.files[FILES[3]])
    length = int.from_bytes(data[:8], "little")
    entries = json.loads(data[8 : 8 + length])
    shapes: dict[str, list[str]] = {}
    for name, entry in entries.items():
        shapes.setdefault(json.dumps([entry["dtype"], entry["shape"]]), []).append(name)
    one, other = next(names for names in shapes.values() if len(names) > 1)[:2]
    entries[one], entries[other] = entries[other], entries[one]
    text = json.dumps(entries, separators=(",", ":")).encode().ljust(length)
    assert len(text) == length

    def lie(asked: Asked) -> Answer | None:
        if asked.name != FILES[3] or not is_for_header(asked):
            return None
        told = (data[:8] + text + data[8 + length :])[: 64 << 10]
        sent = {
            "Content-Length": str(len(told)),
            "Content-Range": f"bytes 0-{len(told) - 1}/{len(data)}",
        }
        return Answer(206, sent, told)

    hub.lie = lie


@pytest.mark.parametrize("lie", [flip_last, lie_about_a_header])
def test_a_lie_is_refused_before_anything_is_made_of_it(
    hub: Hub, tmp_path: Path, whole: dict[str, str], lie: object
) -> None:
    """No model; once the Hub tells the truth, the same command continues."""
    release, files = hub.release(), dict(hub.files)
    lie(hub)  # type: ignore[operator]
    with pytest.raises(DownloadError, match=FILES[3]):
        get_model(release, "q8", keep=False, endpoint=hub.address)
    models = tmp_path / "home" / "models"
    assert [path.name for path in models.iterdir() if path.name[0] != "."] == [
        "gpt-oss-tiny-q8.partial"
    ]
    hub.files, hub.lie = files, lambda asked: None
    hub.requests.clear()

    assert digests(convert(hub)) == whole
    if lie is flip_last:
        assert not set(fetched(hub)) & set(FILES[:3])


def test_the_room_that_it_needs(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of what is written, of the file that it is made of, and of the next one."""
    usage = shutil.disk_usage("/")._replace(free=1_000_000)
    monkeypatch.setattr("gptoss_mlx.convert.pipeline.shutil.disk_usage", lambda _: usage)
    release = hub.release()
    with pytest.raises(NoSpaceError) as caught:
        convert(hub, "exact")
    needed = float(str(caught.value).partition("must have ")[2].partition(" MB")[0]) * 1e6
    weights = [release.files[name].nbytes for name in FILES]
    peak = max(sum(weights[: i + 1]) + sum(weights[i : i + 2]) for i in range(5))
    assert abs(needed - (1 << 20) - peak) < 100_000


def test_headers_are_asked_for_by_range(hub: Hub, whole: dict[str, str]) -> None:
    """A header is a small part of a file."""
    convert(hub)
    assert [a.name for a in hub.requests if is_for_header(a)] == FILES


def killed_then_continued(hub: Hub, tmp_path: Path, times: int, seed: int) -> int:
    """Kill it at random moments, and finish it each time."""
    right = digests(get_model(hub.release(), "q8", endpoint=hub.address))
    shutil.rmtree(tmp_path / "home")
    shutil.rmtree(tmp_path / "cache")
    release = hub.release()
    pins = {name: list(pin) for name, pin in release.files.items()}
    out = tmp_path / "home" / "models" / "gpt-oss-tiny-q8"

    def run_again() -> bool:
        unfinished = not out.exists()
        if not unfinished:
            assert digests(out) == right
        assert digests(convert(hub)) == right
        assert not any(out.parent.glob("*.partial"))
        assert sources(tmp_path) == []
        shutil.rmtree(tmp_path / "home")
        return unfinished

    return kill_at_random(
        "import json, mlx.core as mx, huggingface_hub.constants as constants\n"
        f"constants.HF_HUB_CACHE = {str(tmp_path / 'cache')!r}\n"
        "constants.HF_HUB_DISABLE_TELEMETRY = True\n"
        "from huggingface_hub.utils import get_session\n"
        "from gptoss_mlx.sharing.get import get_model\n"
        "from gptoss_mlx.sharing.releases import Pin, Release\n"
        f"pins = json.loads({json.dumps(pins)!r})\n"
        f"release = Release({release.repository!r}, {COMMIT!r},"
        " {name: Pin(*pin) for name, pin in pins.items()})",
        f"get_model(release, 'q8', keep=False, endpoint={hub.address!r})",
        times=times,
        then=run_again,
        seed=seed,
    )


def test_killed_twice_then_continued(hub: Hub, tmp_path: Path) -> None:
    """The result is the same, and nothing half written is taken for whole."""
    assert killed_then_continued(hub, tmp_path, times=2, seed=2) == 2


@pytest.mark.slow
def test_killed_at_20_moments_then_continued(hub: Hub, tmp_path: Path, note: Note) -> None:
    """The same, at more moments."""
    killed = killed_then_continued(hub, tmp_path, times=20, seed=1)
    note("killed_arrivals", killed)
    assert killed == 20
