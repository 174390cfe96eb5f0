from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_hub import Hub, serve_hub
from shared_folder import CONFIG, Served, serve_apart, write_shared_folder

SECRET = b"nothing of this may leave the machine"
BIG_BYTES = 32 << 20
IDLE_S = 2.0


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with an empty repository, and an empty cache."""
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
    # It would ask the real Hub for a list of coding agents, to name one in its requests.
    monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_TELEMETRY", True)
    with serve_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of one folder, beside and in which lie files that are not listed."""
    above = tmp_path_factory.mktemp("share")
    folder = above / "tiny-q8"
    files = {"config.json": CONFIG, "model.safetensors": bytes(BIG_BYTES), "empty": b""}
    write_shared_folder(folder, files)
    for place in (above / "secret", folder / "unlisted", folder / ".hidden"):
        place.write_bytes(SECRET)
    (folder / "link").symlink_to(above / "secret")
    (above / "other").mkdir()
    (above / "other" / "secret").write_bytes(SECRET)
    with serve_apart(folder, idle_s=IDLE_S) as (port, process):
        yield Served(port, process, folder)
