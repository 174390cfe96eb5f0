"""A stand-in on localhost for the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from upload_hub import describe

from gptoss_mlx.sharing.releases import Pin, Release

__all__ = ["COMMIT", "LISTING", "Answer", "Asked", "Hub", "serve_hub"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE_BYTES = 64 << 10
LISTING = "the list of files"
"""The name under which a request for it is recorded."""


class Asked(NamedTuple):
    """A request: which file, from which byte on, and with what headers."""

    name: str
    start: int
    headers: dict[str, str]


class Answer(NamedTuple):
    """What is sent instead of a file."""

    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - read only
    body: bytes = b""


@dataclass
class Hub:
    """A Hub with one repository, which speaks as much of its API as is asked for.

    Attributes:
        files: What the repository holds, by path.
        requests: What was asked for, in order.
        lie: Given a request, what is answered instead; None for the truth.
        rate: Bytes a second, of all connections together. None: no limit.
        ranges: Whether it knows ranges.
    """

    address: str
    files: dict[str, Sequence[int]] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    lie: Callable[[Asked], Answer | None] = lambda asked: None
    rate: float | None = None
    ranges: bool = True

    @property
    def asked(self) -> list[str]:
        """The names of the files that were asked for."""
        return [request.name for request in self.requests]

    def listing(self) -> dict[str, Any]:
        """What its API says of the repository."""
        siblings = [describe(name, bytes(data)) for name, data in self.files.items()]
        return {"sha": COMMIT, "siblings": siblings}

    def release(self) -> Release:
        """The release that these files are, as they are now."""
        pins = {
            name: Pin(len(data), hashlib.sha256(bytes(data)).hexdigest())
            for name, data in self.files.items()
            if "/" not in name
        }
        return Release("openai/gpt-oss-tiny", COMMIT, pins)


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Serve a repository that is empty as yet."""
    lock = threading.Lock()
    sent_until = [0.0]

    def wait_for_turn(nbytes: int) -> None:
        if hub.rate is None:
            return
        with lock:
            now = time.monotonic()
            sent_until[0] = max(sent_until[0], now) + nbytes / hub.rate
            pause = sent_until[0] - now
        time.sleep(pause)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            _, _, name = self.path.partition(f"/resolve/{COMMIT}/")
            is_listing = self.path.startswith("/api/models/")
            name = LISTING if is_listing else name
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if not hub.ranges:
                wanted = None
            start = int(wanted[1]) if wanted else 0
            asked = Asked(name, start, {k.lower(): v for k, v in self.headers.items()})
            hub.requests.append(asked)
            answer = hub.lie(asked)
            if answer is not None:
                self.reply(answer.status, answer.headers, answer.body)
            elif is_listing:
                self.reply(200, {}, json.dumps(hub.listing()).encode())
            elif name not in hub.files:
                self.reply(404, {"Content-Length": "0"}, b"")
            else:
                data = hub.files[name]
                last = int(wanted[2]) if wanted and wanted[2] else len(data) - 1
                headers = {"Content-Length": str(last + 1 - start)}
                if wanted:
                    headers["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
                    self.reply(206, headers, data[: last + 1] if wanted[2] else data, start)
                else:
                    self.reply(200, headers, data)

        def reply(
            self, status: int, headers: dict[str, str], data: Sequence[int], start: int = 0
        ) -> None:
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                for begin in range(start, len(data), PIECE_BYTES):
                    piece = bytes(data[begin : begin + PIECE_BYTES])
                    wait_for_turn(len(piece))
                    self.wfile.write(piece)
            except OSError:  # Whoever asked has gone.
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
