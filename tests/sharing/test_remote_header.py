"""Headers of files on the Hub, read by range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from local_hub import COMMIT, Answer, Asked
from local_hub import Hub as LocalHub
from tiny_checkpoint import write_safetensors

from gptoss_mlx.checkpoint.safetensors import Header
from gptoss_mlx.errors import DownloadError
from gptoss_mlx.sharing import remote_header
from gptoss_mlx.sharing.background import Background
from gptoss_mlx.sharing.hub import Hub

NAME = "model.safetensors"


@pytest.fixture
def hub(local_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHub:
    """A Hub with one safetensors file."""
    monkeypatch.setattr("gptoss_mlx.sharing.transfer.FIRST_PAUSE_S", 0.001)
    write_safetensors(tmp_path / NAME, {"a": np.zeros(200_000, np.uint8)})
    local_hub.files[NAME] = (tmp_path / NAME).read_bytes()
    return local_hub


def fetch(hub: LocalHub) -> Header:
    """Fetch the file's header."""
    repository = Hub("a/b", COMMIT, endpoint=hub.address, command="again")
    nbytes = len(hub.files[NAME])
    return remote_header.fetch_header(repository, NAME, nbytes, lambda: None)


def right(hub: LocalHub) -> Header:
    """The header that the file has."""
    data = bytes(hub.files[NAME])
    return Header(data[8 : 8 + int.from_bytes(data[:8], "little")], len(data))


@pytest.mark.parametrize("first", [8, 20, 1 << 16])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_header_of_any_length(
    hub: LocalHub, first: int, ranges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is asked for if it is long; a Hub without ranges will do."""
    monkeypatch.setattr(remote_header, "FIRST_BYTES", first)
    hub.ranges = ranges
    assert fetch(hub) == right(hub)
    assert len(hub.requests) == (2 if first < 100 else 1)


def test_a_hub_that_is_busy_then_ends_early_then_answers(hub: LocalHub) -> None:
    """It is asked again, a few times."""
    sent = {"Content-Range": f"bytes 0-9/{len(hub.files[NAME])}"}
    answers = [Answer(503), Answer(206, sent, b"short")]
    hub.lie = lambda asked: answers.pop(0) if answers else None
    assert fetch(hub) == right(hub)

    hub.lie = lambda asked: Answer(503)
    with pytest.raises(DownloadError, match="status 503"):
        fetch(hub)


@pytest.mark.parametrize(
    ("begin", "found"),
    [
        ((1 << 40).to_bytes(8, "little"), "its header would have 1,099,511,627,776 bytes"),
        ((4).to_bytes(8, "little") + b"[42]", "the header must be a JSON object"),
        ((2).to_bytes(8, "little") + b"{}", "must end after its last tensor"),
    ],
)
def test_what_is_no_header(hub: LocalHub, begin: bytes, found: str) -> None:
    """It is the Hub's error."""
    nbytes = len(hub.files[NAME])

    def lie(asked: Asked) -> Answer:
        body = begin.ljust(1 << 16, b" ")
        return Answer(206, {"Content-Range": f"bytes 0-{len(body) - 1}/{nbytes}"}, body)

    hub.lie = lie
    with pytest.raises(DownloadError, match=f"the Hub sends another: .*{found}"):
        fetch(hub)


def test_work_in_the_background() -> None:
    """Its result or its error reaches the caller, and it can be stopped."""

    def fail(check: object) -> None:
        raise DownloadError("No.")

    assert Background(lambda check: 42).result() == 42
    with pytest.raises(DownloadError, match="No"):
        Background(fail).result()

    def work_on(check: object) -> None:
        while True:
            check()  # type: ignore[operator]

    work = Background(work_on)
    work.stop()
    assert not work.is_running
