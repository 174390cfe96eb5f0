"""A mirror that lies: what it sends is refused, and nothing of it is converted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from local_hub import COMMIT, Answer, Asked, Hub, serve_hub
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx.errors import DownloadError, GptOssError
from gptoss_mlx.sharing.get import get_model

INDEX, CONFIG = "model.safetensors.index.json", "config.json"
PINNED_SMALL = "generation_config.json"
TEMPLATE, TOKENIZER = "chat_template.jinja", "tokenizer.json"


@pytest.fixture
def hub(local_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A Hub with a tiny model, whose small files are pinned as OpenAI's are."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("gptoss_mlx.sharing.transfer.FIRST_PAUSE_S", 0.001)
    released = tmp_path / "released"
    write_tiny_checkpoint(released)
    for path in released.iterdir():
        if path.is_file():
            local_hub.files[path.name] = path.read_bytes()
    shards = [name for name in local_hub.files if name.endswith(".safetensors")]
    local_hub.files |= {
        INDEX: local_hub.files.get(INDEX) or index(local_hub, shards[0]),
        PINNED_SMALL: b'{"eos_token_id": [200002]}',
        TEMPLATE: b"{{ messages }}",
        TOKENIZER: b"{}",
        "tokenizer_config.json": b'{"eos_token": "<|return|>"}',
    }
    return local_hub


def index(hub: Hub, shard: str) -> bytes:
    """An index of the tensors of a file."""
    data = bytes(hub.files[shard])
    names = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    names.pop("__metadata__", None)
    return json.dumps({"weight_map": dict.fromkeys(names, shard)}).encode()


def shard_of(hub: Hub) -> str:
    """The name of the weights' file."""
    return next(name for name in hub.files if name.endswith(".safetensors"))


def another_file(hub: Hub) -> None:
    """The true shard, an index that names another, and that one."""
    shard = shard_of(hub)
    hub.files["other.safetensors"] = hub.files[shard]
    hub.files[INDEX] = bytes(hub.files[INDEX]).replace(shard.encode(), b"other.safetensors")


def swap(name: str, old: bytes, new: bytes) -> Callable[[Hub], None]:
    """Change a file, and keep its size where both texts have the same."""

    def lie(hub: Hub) -> None:
        assert old in bytes(hub.files[name])
        hub.files[name] = bytes(hub.files[name]).replace(old, new, 1)

    return lie


def flip_last(name: str | None = None) -> Callable[[Hub], None]:
    """Change the last byte of a file; None: of the weights."""

    def lie(hub: Hub) -> None:
        chosen = name or shard_of(hub)
        data = bytes(hub.files[chosen])
        hub.files[chosen] = data[:-1] + bytes([data[-1] ^ 1])

    return lie


def answer(make: Callable[[Hub, Asked], Answer | None]) -> Callable[[Hub], None]:
    """Answer requests so."""

    def lie(hub: Hub) -> None:
        hub.lie = lambda asked: make(hub, asked)

    return lie


def resized(change: Callable[[bytes], bytes]) -> Callable[[Hub], None]:
    """Send more or less of the weights, with a length that agrees."""

    def lie(hub: Hub) -> None:
        shard = shard_of(hub)
        hub.files[shard] = change(bytes(hub.files[shard]))

    return lie


def endless(hub: Hub, asked: Asked) -> Answer:
    """A body that goes on after the file, with no length."""
    return Answer(200, {}, bytes(hub.files[asked.name]) * 3)


def zipped(hub: Hub, asked: Asked) -> Answer:
    """A body that would grow."""
    data = gzip.compress(bytes(10_000_000))
    return Answer(200, {"Content-Encoding": "gzip"}, data)


def ranged(span: str) -> Callable[[Hub, Asked], Answer]:
    """A part of a file that was not asked for."""

    def make(hub: Hub, asked: Asked) -> Answer:
        return Answer(206, {"Content-Range": span}, b"x" * 10)

    return make


LIES: dict[str, Callable[[Hub], None]] = {
    "an index that names another file": another_file,
    "an index with another key": swap(INDEX, b"weight_map", b"weight_mop"),
    "a config with another rope": swap(CONFIG, b"32.0", b"31.0"),
    "a config that is longer": swap(CONFIG, b"{", b"{ "),
    "a config that is a list": swap(CONFIG, b"{", b"["),
    "other stop tokens": swap(PINNED_SMALL, b"200002", b"200003"),
    "another chat template": swap(TEMPLATE, b"messages", b"massages"),
    "an empty chat template": lambda hub: hub.files.update({TEMPLATE: b""}),
    "another tokenizer": swap(TOKENIZER, b"{}", b"[]"),
    "another tokenizer_config": swap("tokenizer_config.json", b"return", b"call|>"),
    "other weights": flip_last(),
    "shorter weights": resized(lambda data: data[:-1]),
    "longer weights": resized(lambda data: data + b"\0"),
    "no weights": lambda hub: hub.files.update({shard_of(hub): b""}),
    "a body without an end": answer(endless),
    "a body that unpacks to more": answer(zipped),
    "a range that was not asked for": answer(ranged("bytes 5-14/999999999")),
    "a range of a larger file": answer(ranged("bytes 0-9/99999999999999")),
    "a login page": answer(
        lambda hub, asked: Answer(200, {"Content-Type": "text/html"}, b"<html>")
    ),
    "redirects that never end": answer(
        lambda hub, asked: Answer(302, {"Location": f"{hub.address}/resolve/x"}, b"x" * 99)
    ),
    "a redirect to a file of this machine": answer(
        lambda hub, asked: Answer(302, {"Location": "file:///etc/passwd"})
    ),
    "a redirect to nowhere": answer(lambda hub, asked: Answer(302)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_and_nothing_of_it_is_converted(
    hub: Hub, tmp_path: Path, lie: str
) -> None:
    """With a named error; the store stays empty, and no wrong file stays in the cache."""
    release = hub.release()
    LIES[lie](hub)

    with pytest.raises(DownloadError) as caught:
        get_model(release, "exact", endpoint=hub.address)
    assert caught.value.hint
    assert not (tmp_path / "home").exists()
    assert set(hub.asked) <= {*release.files, ""}
    for path in (tmp_path / "cache").glob("models--*/snapshots/*/*"):
        assert path.name in release.files
        assert path.resolve().stat().st_size == release.files[path.name].nbytes


def test_files_that_no_release_has_are_neither_fetched_nor_read(
    hub: Hub, tmp_path: Path
) -> None:
    """Neither on the Hub nor in the cache's folder."""
    release = hub.release()
    hub.files["LICENSE"] = b"Nothing is allowed."
    first = get_model(release, "exact", endpoint=hub.address)
    snapshot = next((tmp_path / "cache").glob("models--*/snapshots/*"))
    (snapshot / "LICENSE").write_bytes(b"Nothing is allowed.")
    (snapshot / "model-extra.safetensors").write_bytes(b"no tensors")
    second = get_model(release, "q8", endpoint=hub.address)

    assert set(hub.asked) == set(release.files)
    for folder in (first, second):
        assert b"Nothing" not in (folder / "LICENSE").read_bytes()
        assert (folder / TEMPLATE).read_bytes() == b"{{ messages }}"


@pytest.mark.parametrize("place", ["another host", "another port"])
def test_a_token_goes_to_the_hub_alone(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A server that it redirects to, as for large files, does not get the token."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serve_hub() as storage:
        storage.files |= hub.files
        elsewhere = storage.address
        if place == "another host":
            elsewhere = elsewhere.replace("127.0.0.1", "localhost")
        hub.lie = lambda asked: Answer(
            302, {"Location": f"{elsewhere}/resolve/{COMMIT}/{asked.name}"}
        )
        get_model(hub.release(), "exact", endpoint=hub.address)

    assert {r.headers.get("authorization") for r in hub.requests} == {"Bearer hf_secret"}
    assert len(storage.requests) == len(hub.files)
    assert not any("hf_secret" in str(request.headers) for request in storage.requests)


@pytest.mark.parametrize(
    ("status", "token", "hint"),
    [
        (401, "hf_old", "The token in HF_TOKEN may have expired"),
        (403, "hf_old", "The token in HF_TOKEN may have expired"),
        (401, "", "set HF_TOKEN"),
        (404, "", "gptoss-mlx download openai/gpt-oss-tiny --recipe exact"),
        (418, "", "Run it again"),
    ],
)
def test_what_a_status_means_is_in_the_hint(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int, token: str, hint: str
) -> None:
    """The message has the file and the status, and what the Hub said."""
    monkeypatch.setenv("HF_TOKEN", token)
    hub.lie = lambda asked: Answer(status, {"X-Error-Message": "Go \x9b2J away"})

    with pytest.raises(GptOssError, match=rf"status {status}: Go \\x9b2J away\.") as caught:
        get_model(hub.release(), "exact", endpoint=hub.address)
    assert hint in caught.value.hint
    assert "hf_old" not in str(caught.value)
