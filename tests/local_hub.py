"""A stand-in on localhost for the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from gptoss_mlx.sharing.releases import Release

__all__ = ["Hub", "serve_hub"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(NamedTuple):
    """A Hub with one repository, which speaks as much of its API as is asked for.

    Attributes:
        files: What the repository holds, by path.
        asked: The paths that were fetched, in order.
    """

    address: str
    files: dict[str, bytes]
    asked: list[str]

    def release(self) -> Release:
        """The release that these files are, as they are now."""
        shards = {
            name: (len(data), hashlib.sha256(data).hexdigest())
            for name, data in self.files.items()
            if name.endswith(".safetensors") and "/" not in name
        }
        return Release("openai/gpt-oss-tiny", COMMIT, shards)


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Serve a repository that is empty as yet."""
    files: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(send=False)

        def do_GET(self) -> None:
            self.answer(send=True)

        def answer(self, *, send: bool) -> None:
            if "/tree/" in self.path:
                self.reply(json.dumps([entry(*item) for item in files.items()]).encode())
                return
            _, found, name = self.path.partition(f"/resolve/{COMMIT}/")
            if not found or name not in files:
                self.send_error(404)
                return
            if send:
                asked.append(name)
            self.reply(files[name], send=send, etag=blob_id(files[name]))

        def reply(self, data: bytes, *, send: bool = True, etag: str = "") -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{etag}"')
            self.end_headers()
            if send:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Hub(f"http://127.0.0.1:{server.server_port}", files, asked)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def blob_id(data: bytes) -> str:
    """The name that the Hub gives to a file's content."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def entry(path: str, data: bytes) -> dict[str, object]:
    """A file as the Hub lists it."""
    return {"type": "file", "path": path, "size": len(data), "oid": blob_id(data)}
