"""Requests that want what is not shared, or much of the server."""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import ExitStack

import pytest
from shared_folder import CONFIG, Served, status_of

# What `served` shares, and what lies beside it.
SECRET = b"nothing of this may leave the machine"
BIG_BYTES = 32 << 20
MORE_BYTES = 20 << 20

PATHS = [
    "/../secret",
    "/tiny-q8/../secret",
    "/tiny-q8/..%2fsecret",
    "/tiny-q8/..%2F..%2F..%2F..%2Fetc%2Fpasswd",
    "/tiny-q8/%2e%2e/secret",
    "/tiny-q8/%252e%252e%252fsecret",
    "/tiny-q8/%c0%ae%c0%ae/secret",
    "/tiny-q8/..\\secret",
    "/tiny-q8/..;/secret",
    "/tiny-q8/./unlisted",
    "/tiny-q8/unlisted",
    "/tiny-q8/.hidden",
    "/tiny-q8/link",
    "/tiny-q8/",
    "/tiny-q8",
    "//etc/passwd",
    "/etc/passwd",
    "/tiny-q8//etc/passwd",
    "/tiny-q8/config.json/",
    "/tiny-q8/config.json/../unlisted",
    "/tiny-q8/config.json%00",
    "/tiny-q8/config.json%0d%0aX:%20y",
    "/tiny-q8/CONFIG.JSON",
    "/other/secret",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/" + "a" * 10_000,
    "/" + "../" * 1000 + "etc/passwd",
    "file:///etc/passwd",
    "http://other/tiny-q8/unlisted",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_not_listed_is_not_found(served: Served, path: str) -> None:
    """However it is written: a file is found by its listed name alone."""
    answer = served.get(path)

    assert status_of(answer) in (400, 404)
    assert b"root:" not in answer
    assert SECRET not in answer


RANGES = [
    "bytes=0-0,2-2",
    "bytes=" + ",".join(["0-"] * 1000),
    "bytes=5-1",
    "bytes=-0",
    "bytes=--5",
    "bytes=99999999999999999999999-",
    "bytes=33554500-",
    "bytes=0x1-2",
    "bytes=\xb2-3",
    "items=0-1",
    "bytes=",
]


@pytest.mark.parametrize("wanted", RANGES)
def test_a_range_that_is_not_served_is_refused(served: Served, wanted: str) -> None:
    """Several, backwards, beyond the end, or no range at all."""
    answer = served.get("/tiny-q8/config.json", f"Range: {wanted}")

    assert status_of(answer) == 416
    assert answer.endswith(b"\r\n\r\n")


HOST = b"Host: x\r\nConnection: close\r\n"
START = b"GET / HTTP/1.1\r\n"
REQUESTS = {
    "post": b"POST /tiny-q8/config.json HTTP/1.1\r\n" + HOST + b"\r\n",
    "put": b"PUT /tiny-q8/new HTTP/1.1\r\nContent-Length: 3\r\n" + HOST + b"\r\nabc",
    "delete": b"DELETE /tiny-q8/config.json HTTP/1.1\r\n" + HOST + b"\r\n",
    "connect": b"CONNECT other:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "trace": b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n",
    "propfind": b"PROPFIND /tiny-q8/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "lower case": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a large body": b"POST / HTTP/1.1\r\nContent-Length: 9999999999\r\n"
    + HOST
    + b"\r\n"
    + bytes(4 << 20),
    "a large header": START + b"X: " + b"y" * (4 << 20) + b"\r\n" + HOST + b"\r\n",
    "many headers": START + b"X: y\r\n" * 100_000 + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": START + b"Host: y\r\n" + HOST + b"\r\n",
    "two lengths": START + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": START
    + HOST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x",
    "bare line feeds": START + b"Host: x\nX: y\r\rZ: z\r\n\r\n",
    "a continued header": START + HOST + b"X: y\r\n z\r\n\r\n",
    "zeros": bytes(1 << 16),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http 0.9": b"GET /\r\n\r\n",
    "http 9": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "websocket": START
    + b"Host: x\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n"
    + b"Sec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "continue": START + b"Expect: 100-continue\r\nContent-Length: 9\r\n" + HOST + b"\r\n",
    "no request": b"\r\n\r\n\r\n",
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_strange_request_is_answered_or_refused(served: Served, request_: bytes) -> None:
    """The connection ends, and the next one is served."""
    answer = served.send(request_)

    assert SECRET not in answer
    assert status_of(answer) in (200, 400, 404, 405, None)
    assert served.body("/tiny-q8/config.json") == CONFIG


def test_many_requests_at_once_are_answered_in_order(served: Served) -> None:
    """A client may send the next request before it has read the answer."""
    one = b"GET /tiny-q8/config.json HTTP/1.1\r\nHost: x\r\n\r\n"

    answer = served.send(
        one * 50 + one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    )

    assert answer.count(CONFIG) == 51


def open_many(
    served: Served, stack: ExitStack, count: int, sent: bytes
) -> list[socket.socket]:
    """Open connections that send this, and then nothing."""
    connections = []
    for _ in range(count):
        connection = stack.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", served.port))
        connection.sendall(sent)
        connections.append(connection)
    return connections


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_200_clients_that_wait_are_closed_while_others_are_served(served: Served) -> None:
    """Silent, halfway through a request, or not reading; 20 MB of memory at most."""
    served.body("/tiny-q8/model.safetensors")
    before = served.peak_bytes
    big = b"GET /tiny-q8/model.safetensors HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        waiting = open_many(served, stack, 60, b"")
        waiting += open_many(served, stack, 60, b"GET /tiny-q8/config.json HTTP/1.1\r\nHo")
        waiting += open_many(served, stack, 80, big)
        began = time.monotonic()

        assert len(served.body("/tiny-q8/model.safetensors")) == BIG_BYTES
        assert served.body("/tiny-q8/config.json") == CONFIG
        assert time.monotonic() - began < 10
        until = time.monotonic() + 20
        while open_files(served.process.pid) > 40 and time.monotonic() < until:
            time.sleep(0.1)
        assert open_files(served.process.pid) < 40
    assert served.peak_bytes - before < MORE_BYTES


def open_files(process: int) -> int:
    """How many files and connections a process has open."""
    return len(os.listdir(f"/proc/{process}/fd"))  # noqa: PTH208 - a count


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_all_the_hostile_requests_take_little_memory(served: Served) -> None:
    """Twice in a row: 20 MB more at most than the server has used for ordinary ones."""
    served.body("/tiny-q8/model.safetensors")
    before = served.peak_bytes
    for _ in range(2):
        for path in PATHS:
            served.get(path)
        for wanted in RANGES:
            served.get("/tiny-q8/model.safetensors", f"Range: {wanted}")
        for request in REQUESTS.values():
            served.send(request)

    assert len(PATHS) + len(RANGES) + len(REQUESTS) >= 40
    assert served.peak_bytes - before < MORE_BYTES
