from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from local_hub import Hub
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.convert.pipeline import convert_checkpoint
from gptoss_mlx.convert.verify import verify_checkpoint
from gptoss_mlx.errors import ConvertError, UnsupportedModelError
from gptoss_mlx.manifest import read_manifest
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.sharing.get import get_model
from gptoss_mlx.sharing.transfer import Progress


@pytest.fixture
def hub(local_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A Hub with a tiny model as OpenAI releases them, and a machine without models."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    released = tmp_path / "released"
    write_tiny_checkpoint(released)
    for path in released.rglob("*"):
        if path.is_file():
            local_hub.files[path.relative_to(released).as_posix()] = path.read_bytes()
    return local_hub


def test_a_model_is_downloaded_checked_and_converted(hub: Hub, tmp_path: Path) -> None:
    """Into the store, where it verifies and loads; each step tells how far it is."""
    said: list[str] = []
    steps: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def step(task: str) -> Iterator[Progress]:
        heard = steps.setdefault(task, [])
        yield lambda done, total: heard.append((done, total))

    folder = get_model(
        hub.release(), "exact", say=said.append, step=step, endpoint=hub.address
    )

    assert folder == tmp_path / "home" / "models" / "gpt-oss-tiny-exact"
    snapshot = next((tmp_path / "cache").glob("models--*/snapshots/*"))
    report = verify_checkpoint(folder, snapshot)
    assert report.identical == report.tensors > 0
    assert load_model(folder)(mx.array([[1, 2, 3]])).shape[:2] == (1, 3)
    assert list(steps) == ["Downloading", "Checking", "Converting"]
    assert all(heard[-1][0] == heard[-1][1] > 0 for heard in steps.values())
    assert said[0].startswith("Downloading openai/gpt-oss-tiny, ")
    assert report.digest is not None
    assert said[-2:] == [
        f"Digest: gpt-oss-tiny-exact@{report.digest[:32]}",
        f"You can delete the download: {snapshot.parents[1]}",
    ]
    (entry,) = read_manifest(folder).source_files.values()
    assert entry.sha256 == hub.release().files["model.safetensors"].sha256


def test_the_digests_that_were_checked_are_not_computed_again(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversion gets the published ones."""
    given: list[Any] = []

    def convert(*arguments: Any, **options: Any) -> Any:
        given.append(options["sha256"])
        return convert_checkpoint(*arguments, **options)

    monkeypatch.setattr("gptoss_mlx.sharing.get.convert_checkpoint", convert)
    release = hub.release()
    get_model(release, "exact", endpoint=hub.address)

    assert given == [{name: pin.sha256 for name, pin in release.files.items()}]


def test_a_download_keeps_the_machine_awake(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first file until the end of the conversion."""
    heard: list[str] = []

    @contextmanager
    def awake() -> Iterator[None]:
        heard.append(f"awake, {len(hub.asked)} files")
        yield
        heard.append("asleep")

    @contextmanager
    def step(task: str) -> Iterator[Progress]:
        heard.append(task)
        yield lambda done, total: None

    monkeypatch.setattr("gptoss_mlx.sharing.get.awake", awake)
    get_model(hub.release(), step=step, endpoint=hub.address)

    assert heard == ["awake, 0 files", "Downloading", "Checking", "Converting", "asleep"]


def test_a_model_that_is_here_is_left_as_it_is(hub: Hub) -> None:
    """The second time nothing is asked for, and that is said."""
    folder = get_model(hub.release(), endpoint=hub.address)
    hub.requests.clear()
    said: list[str] = []

    assert folder.name == "gpt-oss-tiny-q8"
    assert get_model(hub.release(), say=said.append, endpoint=hub.address) == folder
    assert hub.asked == []
    assert said == [f"Already downloaded: {folder}"]


def test_what_cannot_be_had_is_refused_before_anything_is_fetched(hub: Hub) -> None:
    """A model that nobody released, or a recipe that there is not."""
    with pytest.raises(UnsupportedModelError):
        get_model("llama", endpoint=hub.address)
    with pytest.raises(ConvertError):
        get_model(hub.release(), "q5", endpoint=hub.address)
    assert hub.asked == []
