"""A machine that lies: what it sends is refused, and nothing of it becomes a model."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_hub import Answer, Asked
from local_peer import LocalPeer, serve_peer
from small_conversion import convert
from tiny_checkpoint import write_tiny_checkpoint

from gptoss_mlx import store
from gptoss_mlx.errors import GptOssError
from gptoss_mlx.sharing.pull import pull_model

Lie = Callable[[LocalPeer], object]
SHARD = "model-00002-of-00003.safetensors"
OTHER = "model-00003-of-00003.safetensors"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted folder of several files."""
    folder = tmp_path_factory.mktemp("shared")
    write_tiny_checkpoint(folder / "tiny")
    convert(folder / "tiny", folder / "tiny-q8")
    return folder / "tiny-q8"


@pytest.fixture
def peer(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalPeer]:
    """A machine that shares it, and an empty store."""
    monkeypatch.setenv("GPTOSS_MLX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("gptoss_mlx.sharing.pieces.FIRST_PAUSE_S", 0.001)
    with serve_peer(shared) as peer:
        yield peer


def refused_pull(peer: LocalPeer, digest: str | None, tmp_path: Path) -> str:
    """Pull; return the message, after a look at all that was left."""
    with pytest.raises(GptOssError) as caught:
        pull_model(peer.address(digest))
    assert [model.name for model in store.models() if not model.unfinished] == []
    partial = f"home/models/{peer.name}.partial"
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    beside = [p for p in left if not p.startswith(partial) and p.count("/") > 1]
    assert beside == []
    assert type(caught.value).__name__ in ("DownloadError", "NoSpaceError")
    assert caught.value.hint[0].isupper()
    return str(caught.value)


def flipped(content: bytes, place: int) -> bytes:
    """Change one bit."""
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


def flip(name: str, place: int) -> Lie:
    """Changes one bit of a file."""

    def lie(peer: LocalPeer) -> None:
        peer.files[name] = flipped(peer.files[name], place)

    return lie


def content(name: str, change: Callable[[bytes], bytes]) -> Lie:
    """Sends another content, and calls it the whole file."""

    def lie(peer: LocalPeer) -> None:
        peer.files[name] = change(peer.files[name])

    return lie


def answer(name: str, make: Callable[[Answer], Answer]) -> Lie:
    """Changes the true answer about a file."""

    def lie(peer: LocalPeer) -> None:
        def changed(asked: Asked) -> Answer | None:
            if asked.name != name:
                return None
            end = asked.headers.get("range", "-").rpartition("-")[2]
            return make(peer.truth(asked, int(end) + 1 if end else None))

        peer.lie = changed

    return lie


def header(name: str, key: str, value: str) -> Lie:
    """Changes one header of the answer about a file."""
    return answer(name, lambda true: true._replace(headers={**true.headers, key: value}))


def swap(peer: LocalPeer) -> None:
    """Sends two files in each other's place."""
    files = peer.files
    files[SHARD], files[OTHER] = files[OTHER], files[SHARD]


def raw(name: str, sent: bytes) -> Lie:
    """Sends bytes that are no answer."""

    def lie(peer: LocalPeer) -> None:
        peer.raw = lambda asked: sent if asked == name else None

    return lie


def without(key: str) -> Callable[[Answer], Answer]:
    """Leaves a header out."""
    return lambda true: true._replace(
        headers={k: v for k, v in true.headers.items() if k != key}
    )


def chunked(true: Answer) -> Answer:
    """Sends more than the range, in a form that tells no length."""
    body = true.body + bytes(1000)
    framed = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    headers = {k: v for k, v in true.headers.items() if k != "Content-Length"}
    return Answer(206, {**headers, "Transfer-Encoding": "chunked"}, framed)


def redirect(status: int, target: str) -> Callable[[Answer], Answer]:
    """Names another address."""
    return lambda true: Answer(status, {"Location": target, "Content-Length": "0"})


def instead(status: int, body: bytes = b"", **headers: str) -> Callable[[Answer], Answer]:
    """Sends another answer."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return lambda true: Answer(status, {"Content-Length": str(len(body)), **named}, body)


def packed(true: Answer) -> Answer:
    """Sends the bytes compressed."""
    body = gzip.compress(true.body)
    headers = {**true.headers, "Content-Length": str(len(body))}
    return true._replace(headers={**headers, "Content-Encoding": "gzip"}, body=body)


BYTES = "sends other bytes."
LIES: dict[str, tuple[Lie, str]] = {
    "a bit of a tensor": (flip(SHARD, -1000), BYTES),
    "a bit of a header": (flip(SHARD, 20), BYTES),
    "the first bit": (flip(SHARD, 0), BYTES),
    "the last bit": (flip(SHARD, -1), BYTES),
    "a bit of config.json": (flip("config.json", 5), BYTES),
    "zeros": (content(SHARD, lambda true: bytes(len(true))), BYTES),
    "two files swapped": (swap, "must "),
    "a shorter file": (content(SHARD, lambda true: true[:-1]), "for bytes 0-"),
    "a longer file": (content(SHARD, lambda true: true + b"x"), "for bytes 0-"),
    "an empty file": (content(SHARD, lambda true: b""), "for bytes 0-"),
    "a bit of the manifest": (flip("manifest.json", 90), "must have the digest"),
    "a space in the manifest": (
        content("manifest.json", lambda true: true + b" "),
        "must have the digest",
    ),
    "half of the manifest": (
        content("manifest.json", lambda true: true[: len(true) // 2]),
        "must have the digest",
    ),
    "no manifest": (content("manifest.json", lambda true: b""), "must have the digest"),
    "a large manifest": (
        content("manifest.json", lambda true: true + b" " * (9 << 20)),
        "sends over 8,388,608 bytes",
    ),
    "a packed manifest": (answer("manifest.json", packed), "sends it encoded (gzip)"),
    "a manifest elsewhere": (
        answer("manifest.json", redirect(302, "/tiny-q8/config.json")),
        "redirects to another address",
    ),
    "a file elsewhere": (
        answer(SHARD, redirect(307, "http://127.0.0.1:9/x")),
        "redirects to another address",
    ),
    "a file of this machine": (
        answer(SHARD, redirect(301, "file:///etc/passwd")),
        "redirects to another address",
    ),
    "the whole file for a range": (
        answer(SHARD, lambda true: Answer(200, without("Content-Range")(true).headers)),
        "answers with status 200 instead of 206",
    ),
    "another range": (
        header(SHARD, "Content-Range", "bytes 1-9/10"),
        "sends bytes 1-9/10 for bytes 0-",
    ),
    "no length of the whole": (
        header(SHARD, "Content-Range", "bytes 0-9/*"),
        "sends bytes 0-9/* for bytes 0-",
    ),
    "a huge range": (
        header(SHARD, "Content-Range", f"bytes 0-{'9' * 30}/{'9' * 30}"),
        "for bytes 0-",
    ),
    "no range": (answer(SHARD, without("Content-Range")), "sends no range"),
    "several ranges": (
        answer(SHARD, instead(206, b"--x\r\n", Content_Type="multipart/byteranges")),
        "sends no range",
    ),
    "bytes from another place": (
        answer(SHARD, lambda true: true._replace(body=true.body[1:] + b"x")),
        BYTES,
    ),
    "more than the range": (answer(SHARD, chunked), "sends more than"),
    "less than the range": (
        answer(SHARD, lambda true: true._replace(body=true.body[:-1])),
        "must be reachable but is not",
    ),
    "a smaller length": (header(SHARD, "Content-Length", "10"), "sends 10 bytes for"),
    "a negative length": (header(SHARD, "Content-Length", "-1"), "bad Content-Length"),
    "two lengths": (header(SHARD, "content-length", "7"), "conflicting Content-Length"),
    "a packed file": (answer(SHARD, packed), "sends it encoded (gzip)"),
    "bytes called packed": (
        header(SHARD, "Content-Encoding", "br"),
        "sends it encoded (br)",
    ),
    "a login page": (
        answer(SHARD, instead(200, b"<html>", Content_Type="text/html")),
        "answers with status 200",
    ),
    "a page as a range": (
        header(SHARD, "Content-Type", "text/html"),
        "sends a web page",
    ),
    "a missing file": (answer(SHARD, instead(404)), "must be shared by 127.0.0.1"),
    "a forbidden file": (answer(SHARD, instead(403)), "status 403 instead of 206"),
    "always busy": (answer(SHARD, instead(503)), "answers with status 503"),
    "no content": (answer(SHARD, instead(204)), "status 204 instead of 206"),
    "no http": (raw(SHARD, b"\x00\xff" * 1000), "malformed"),
    "nothing": (raw(SHARD, b""), "must be reachable but is not"),
    "endless headers": (
        raw(SHARD, b"HTTP/1.1 206 OK\r\n" + b"X: y\r\n" * 100_000),
        "must be reachable but is not",
    ),
    "a status of words": (raw(SHARD, b"HTTP/1.1 OK OK\r\n\r\n"), "malformed"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused(peer: LocalPeer, tmp_path: Path, lie: str) -> None:
    """The command names the digest: whatever is not as its manifest says is an error."""
    tell, message = LIES[lie]
    digest = peer.digest
    tell(peer)

    assert message in refused_pull(peer, digest, tmp_path)


def edit(change: Callable[[dict[str, Any]], object]) -> Lie:
    """Changes the manifest."""
    return lambda peer: peer.edit_manifest(change)


def list_file(name: str, nbytes: object = 3, sha256: str = "0" * 64) -> Lie:
    """Lists another file, which is there."""

    def lie(peer: LocalPeer) -> None:
        peer.files.setdefault(name, b"abc")
        entry = {"bytes": nbytes, "sha256": sha256}
        if sha256 == "0" * 64:
            entry["sha256"] = hashlib.sha256(b"abc").hexdigest()
        peer.edit_manifest(lambda keys: keys["files"].update({name: entry}))

    return lie


def only_text(peer: LocalPeer) -> None:
    """Shares a folder that is as its manifest says, but no model."""
    peer.edit_manifest(lambda keys: keys.update(files={}, tensors={}))
    peer.put("readme.txt", b"hello")


def no_weights(peer: LocalPeer) -> None:
    """Shares weights that are none."""
    peer.put(SHARD, b"not a safetensors file")


NAME = "must not be the name of a file."
FILE = "is not a file name"
TRUSTED_LIES: dict[str, tuple[Lie, str]] = {
    "a path above": (list_file("../evil"), FILE),
    "a path from the root": (list_file("/tmp/evil"), FILE),  # noqa: S108
    "a path below": (list_file("a/evil"), FILE),
    "a path of Windows": (list_file("..\\evil"), FILE),
    "no name": (list_file(""), FILE),
    "the folder itself": (list_file("."), FILE),
    "the folder above": (list_file(".."), FILE),
    "a name with a zero": (list_file("evil\0"), FILE),
    "our journal": (list_file(".journal.json"), NAME),
    "our lock": (list_file(".lock"), NAME),
    "a hidden file": (list_file(".zshrc"), NAME),
    "the manifest itself": (list_file("manifest.json"), NAME),
    "the manifest's sum": (list_file("MANIFEST.sha256"), NAME),
    "a name in two cases": (list_file("CONFIG.json"), NAME),
    "a name for the terminal": (list_file("a\x1b[2J"), NAME),
    "a very long name": (list_file("a" * 5000), NAME),
    "a name of an option": (list_file("-rf"), NAME),
    "another script's name": (list_file("сonfig.json"), NAME),
    "a negative length": (list_file("a", -1), "is not a count"),
    "a length beyond 64 bits": (list_file("a", 1 << 64), "is not a count"),
    "a length of words": (list_file("a", "3"), "is not a count"),
    "a petabyte": (list_file("a", 10**15), "GB free"),
    "no sum": (list_file("a", 3, "0"), "is not a sha256"),
    "many files": (
        edit(
            lambda keys: keys["files"].update(
                {f"a{i}": {"bytes": 0, "sha256": "0" * 64} for i in range(1001)}
            )
        ),
        "lists 1,",
    ),
    "another format": (edit(lambda keys: keys.update(format=99)), "must be "),
    "no files": (edit(lambda keys: keys.pop("files")), "is not a manifest"),
    "no object": (content("manifest.json", lambda true: b"[]"), "must be a JSON object"),
    "no json": (content("manifest.json", lambda true: b"{"), "must be JSON"),
    "deep json": (content("manifest.json", lambda true: b"[" * 99_999), "must be JSON"),
    "a tensor in no file": (
        edit(lambda keys: next(iter(keys["tensors"].values())).update(file="x")),
        "which files lack",
    ),
    "a tensor of another dtype": (
        edit(lambda keys: next(iter(keys["tensors"].values())).update(dtype="F64")),
        "must be as the manifest lists it",
    ),
    "a tensor that is not there": (
        edit(lambda keys: keys["tensors"].update(x=next(iter(keys["tensors"].values())))),
        "must be as the manifest lists it",
    ),
    "no model": (only_text, "must be a model, but is not"),
    "no weights": (no_weights, "must be a model, but is not"),
}


@pytest.mark.parametrize("lie", TRUSTED_LIES)
def test_a_consistent_lie_leaves_no_model(
    peer: LocalPeer, tmp_path: Path, lie: str
) -> None:
    """Without a digest the manifest is trusted, but not with paths, or as a model."""
    tell, message = TRUSTED_LIES[lie]
    tell(peer)

    assert message in refused_pull(peer, None, tmp_path)
    assert message in refused_pull(peer, peer.digest, tmp_path)


def test_what_the_manifest_does_not_list_is_not_requested(
    peer: LocalPeer, tmp_path: Path
) -> None:
    """Whatever else is shared."""
    asked = []
    peer.files["evil.py"] = b"import os"
    peer.lie = lambda request: asked.append(request.name)

    folder = pull_model(peer.address(peer.digest)).folder

    assert "evil.py" not in asked
    assert not (folder / "evil.py").exists()
