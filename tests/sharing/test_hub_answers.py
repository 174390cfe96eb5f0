"""Whatever a Hub answers: the right file or a named error, in bounded time and memory."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from evidence import Note
from hostile import ESCAPES, raw_controls
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gptoss_mlx.errors import DownloadError
from gptoss_mlx.sharing.download import fetch_release
from gptoss_mlx.sharing.releases import Pin, Release

NAME = "model.safetensors"
DATA = bytes(range(256))
PIN = Pin(len(DATA), hashlib.sha256(DATA).hexdigest())
RELEASE = Release("openai/gpt-oss-tiny", "0" * 40, {NAME: PIN})
SECONDS = 5.0
PEAK_BYTES = 4 << 20


class Scripted(NamedTuple):
    """A Hub that says what it was told to, byte for byte; the last answer stays."""

    address: str
    answers: list[bytes]


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    """A Hub without a word of its own."""
    answers: list[bytes] = []

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(answers.pop(0) if len(answers) > 1 else answers[0])
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)
                except OSError:
                    continue

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        scripted = Scripted(f"http://127.0.0.1:{server.getsockname()[1]}", answers)
        answers.append(b"HTTP/1.1 200 OK\r\n\r\n" + DATA)
        with TemporaryDirectory() as folder, cache_in(folder):
            # What is imported for it is no memory of an answer.
            fetch_release(RELEASE, command="again", endpoint=scripted.address)
        yield scripted
        server.shutdown(socket.SHUT_RDWR)


LINE = st.one_of(st.sampled_from(ESCAPES), st.text(max_size=40)).map(
    lambda text: text.replace("\n", "").replace("\r", "")
)
NUMBER = st.one_of(
    st.sampled_from([0, 1, len(DATA) - 1, len(DATA), len(DATA) + 1, 2**63, 10**30, -1]),
    st.integers(0, 300),
)
SPAN = st.one_of(
    st.builds("bytes {}-{}/{}".format, NUMBER, NUMBER, NUMBER | st.just("*")),
    st.just(f"bytes 0-{len(DATA) - 1}/{len(DATA)}"),
    LINE,
)
HEADER = st.one_of(
    st.tuples(st.just("Content-Length"), NUMBER.map(str) | st.just("\u0663") | LINE),
    st.tuples(st.just("Content-Length"), st.just(str(len(DATA)))),
    st.tuples(st.just("Content-Range"), SPAN),
    st.tuples(st.just("Content-Encoding"), st.sampled_from(["gzip", "br", "identity"])),
    st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "gzip", "x"])),
    st.tuples(st.just("Content-Type"), st.sampled_from(["text/html", "a/b"]) | LINE),
    st.tuples(st.just("Retry-After"), st.sampled_from(["0", "1e9", "-1", "soon"])),
    st.tuples(st.just("X-Error-Message"), LINE),
    st.tuples(st.just("Set-Cookie"), LINE),
    st.tuples(
        st.just("Location"),
        st.sampled_from(
            ["/", "//[", "http://127.0.0.1:1/", "http://\0/", "ftp://x/", "http://a:b/"]
        )
        | LINE,
    ),
    st.tuples(LINE, LINE),
)
STATUS = st.one_of(
    st.sampled_from([200, 206, 302, 307, 401, 403, 404, 416, 429, 500, 503]),
    st.sampled_from([100, 101, 204, 304, 399, 599, 999]),
    st.integers(0, 99_999),
)
BODY = st.one_of(
    st.just(DATA),
    st.integers(0, len(DATA)).map(lambda size: DATA[:size]),
    st.just(DATA + b"more"),
    st.just(b"0\r\n\r\n"),
    st.just(f"{len(DATA):x}\r\n".encode() + DATA + b"\r\n0\r\n\r\n"),
    st.just(b"FFFFFFFFFFFFFFF\r\n" + DATA),
    st.sampled_from([b"null", b"[" * 5000, b'{"error": []}', b"<html>", bytes(1 << 20)]),
    st.binary(max_size=200),
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """The right answer, or one whose parts need not belong together, perhaps cut."""
    status, phrase, headers, body = 200, "OK", [("Content-Length", str(len(DATA)))], DATA
    wrong = draw(st.sets(st.sampled_from(["status", "headers", "more", "body", "cut"])))
    if "status" in wrong:
        status, phrase = draw(STATUS), draw(st.just("OK") | LINE)
    if "headers" in wrong:
        headers = draw(st.lists(HEADER, max_size=2))
    if "more" in wrong:
        headers = [*headers, draw(HEADER)]
    if "body" in wrong:
        body = draw(BODY)
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{key}: {value}" for key, value in headers)]
    whole = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    return whole[: draw(st.integers(0, len(whole)))] if "cut" in wrong else whole


def answer_or_refuse(scripted: Scripted, said: list[bytes], have: int) -> bool:
    """Hold the property for one download; tell whether it came to its end."""
    scripted.answers[:] = said
    told: list[str] = []
    with TemporaryDirectory() as folder, cache_in(folder) as cache:
        blobs = cache / "models--openai--gpt-oss-tiny" / "blobs"
        blobs.mkdir(parents=True)
        part = blobs / f"{PIN.sha256}.gptoss-mlx.incomplete"
        part.write_bytes(DATA[:have])
        began = time.monotonic()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        done = False
        try:
            snapshot = fetch_release(
                RELEASE, command="again", say=told.append, endpoint=scripted.address
            )
        except DownloadError as error:
            told += [str(error), error.hint]
            assert not list(cache.glob("models--*/snapshots/*/*"))
        else:
            assert (snapshot / NAME).read_bytes() == DATA
            done = True
        _, peak = tracemalloc.get_traced_memory()
    assert time.monotonic() - began < SECONDS
    assert peak - before < PEAK_BYTES
    assert raw_controls("".join(told), allowed="") == []
    assert all(len(line) < 1000 for line in told)
    return done


@contextmanager
def cache_in(folder: str) -> Iterator[Path]:
    """A cache of its own, and no pause before another attempt."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", folder)
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
        patch.setattr("gptoss_mlx.sharing.transfer.FIRST_PAUSE_S", 0.0)
        tracemalloc.start()
        try:
            yield Path(folder)
        finally:
            tracemalloc.stop()


SAID = st.lists(answers(), min_size=1, max_size=3)
HAVE = st.sampled_from([0, 0, 0, 1, 100, len(DATA) - 1])
CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=50, deadline=None, suppress_health_check=CHECKS)
@given(said=SAID, have=HAVE)
def test_50_answers_of_a_hub(
    scripted: Scripted, said: list[bytes], have: int, note: Note
) -> None:
    """The right file or a DownloadError, without a control character."""
    note("hub_answers", 1)
    event("whole" if answer_or_refuse(scripted, said, have) else "refused")


@pytest.mark.slow
@settings(max_examples=500, deadline=None, suppress_health_check=CHECKS)
@given(said=SAID, have=HAVE)
def test_500_answers_of_a_hub(
    scripted: Scripted, said: list[bytes], have: int, note: Note
) -> None:
    """The right file or a DownloadError, without a control character."""
    note("hub_answers", 1)
    event("whole" if answer_or_refuse(scripted, said, have) else "refused")
