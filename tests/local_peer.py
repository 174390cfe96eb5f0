"""A stand-in on localhost for another machine that shares a model, and may lie."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local_hub import Answer, Asked

from gptoss_mlx.sharing.address import Address

__all__ = ["LocalPeer", "serve_peer"]


@dataclass
class LocalPeer:
    """A share server that sends what it is told to.

    Attributes:
        files: What it shares, by name.
        lie: Given a request, what is answered instead; None for the truth.
        raw: Given a name, bytes that are sent instead of an answer; None for an answer.
        sent: Bytes of files that were sent.
    """

    name: str
    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    lie: Callable[[Asked], Answer | None] = lambda asked: None
    raw: Callable[[str], bytes | None] = lambda name: None
    sent: int = 0

    @property
    def digest(self) -> str:
        """Of the manifest as it is now."""
        return hashlib.sha256(self.files["manifest.json"]).hexdigest()

    def address(self, digest: str | None = None) -> Address:
        """Return what the command names."""
        return Address("127.0.0.1", self.port, self.name, digest)

    def edit_manifest(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the manifest's JSON."""
        keys = json.loads(self.files["manifest.json"])
        change(keys)
        self.files["manifest.json"] = json.dumps(keys).encode()

    def put(self, name: str, content: bytes) -> None:
        """Share another content of a file, with a manifest that says so."""
        self.files[name] = content
        entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        self.edit_manifest(lambda keys: keys["files"].update({name: entry}))

    def truth(self, asked: Asked, end: int | None) -> Answer:
        """Return what an honest server answers."""
        content = self.files.get(asked.name)
        if content is None:
            return Answer(404, {"Content-Length": "0"})
        if "range" not in asked.headers:
            return Answer(200, {"Content-Length": str(len(content))}, content)
        body = content[asked.start : end]
        last = f"{asked.start + len(body) - 1}/{len(content)}"
        headers = {
            "Content-Length": str(len(body)),
            "Content-Range": f"bytes {asked.start}-{last}",
        }
        return Answer(206, headers, body)


@contextmanager
def serve_peer(folder: Path) -> Iterator[LocalPeer]:
    """Share a converted folder."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            name = self.path.removeprefix(f"/{peer.name}/")
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
            start, end = (int(found[1]), int(found[2]) + 1) if found else (0, None)
            asked = Asked(name, start, {k.lower(): v for k, v in self.headers.items()})
            raw = peer.raw(name)
            answer = peer.lie(asked) or peer.truth(asked, end)
            self.close_connection = True
            try:
                if raw is not None:
                    self.wfile.write(raw)
                    return
                self.send_response(answer.status)
                for header, value in answer.headers.items():
                    self.send_header(header, value)
                self.send_header("Connection", "close")
                self.end_headers()
                # Counted first: whoever has read all of it may look at once.
                peer.sent += len(answer.body)
                self.wfile.write(answer.body)
            except OSError:
                pass  # Whoever asked has gone.

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    peer = LocalPeer(folder.name, server.server_port)
    peer.files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
