"""A stand-in on localhost for the part of the Hugging Face Hub that takes uploads."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["UploadHub", "serve_uploads"]

LFS_SUFFIXES = (".safetensors", "tokenizer.json")
TOKEN = "hf_" + "a" * 34
PIECE_BYTES = 64 << 10


@dataclass
class UploadHub:
    """A Hub with the repositories of one user.

    Attributes:
        repos: The files of each repository, by its id and their names.
        private: The ids of the private ones.
        objects: The large files that were uploaded, by their sha256.
        commits: The names that each commit has added or removed.
        puts: The bytes of each PUT that arrived, whole or not.
        cut_after: Bytes of a PUT after which the connection is closed; None: never.
        cuts: How many PUTs are still to be cut.
        ignored: Names that the repository's .gitignore leaves out.
        damage: Changes what a commit has stored.
    """

    address: str
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    puts: list[int] = field(default_factory=list)
    cut_after: int | None = None
    cuts: int = 0
    ignored: set[str] = field(default_factory=set)
    damage: Callable[[dict[str, bytes]], object] = lambda files: None
    allowed: bool = True

    def info(self, repository: str) -> dict[str, Any]:
        """Describe a repository as the Hub does."""
        return {
            "id": repository,
            "modelId": repository,
            "sha": "0" * 40,
            "private": repository in self.private,
            "siblings": [
                describe(name, data) for name, data in self.repos[repository].items()
            ],
            "tags": [],
        }


def describe(name: str, data: bytes) -> dict[str, Any]:
    """Describe a file as the Hub does with ``?blobs=true``."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    found = {"rfilename": name, "size": len(data), "blobId": blob.hexdigest()}
    if name.endswith(LFS_SUFFIXES):
        sha256 = hashlib.sha256(data).hexdigest()
        lfs = {"size": len(data), "sha256": sha256, "pointerSize": 134}
        return {**found, "blobId": "0" * 40, "lfs": lfs}
    return found


@contextmanager
def serve_uploads() -> Iterator[UploadHub]:
    """Serve a Hub that is empty as yet."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            found = re.fullmatch(r"/api/models/([^/?]+/[^/?]+)(\?.*)?", self.path)
            if found is None or found[1] not in hub.repos:
                self.send(404, {"error": "Repository not found"}, "RepoNotFound")
            else:
                self.send(200, hub.info(found[1]))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            if not hub.allowed or self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.send(401, {"error": "Invalid username or password."})
            elif path == "/api/repos/create":
                self.create(json.loads(body))
            elif path == "/api/validate-yaml":
                self.send(200, {"errors": [], "warnings": []})
            elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
                self.preupload(hub.repos[found[1]], json.loads(body))
            elif path.endswith(".git/info/lfs/objects/batch"):
                self.batch(json.loads(body))
            elif found := re.fullmatch(r"/api/models/(.+)/commit/main", path):
                lines = [json.loads(line) for line in body.splitlines()]
                self.commit(hub.repos[found[1]], lines)
            else:
                self.send(404, {})

        def create(self, asked: dict[str, Any]) -> None:
            name = f"{asked['organization']}/{asked['name']}"
            if name in hub.repos:
                self.send(409, {"error": "You already created this model repo"})
                return
            hub.repos[name] = {".gitattributes": b"*.safetensors filter=lfs\n"}
            if asked.get("visibility") == "private" or asked.get("private"):
                hub.private.add(name)
            self.send(200, {"url": f"{hub.address}/{name}"})

        def preupload(self, files: dict[str, bytes], asked: dict[str, Any]) -> None:
            answer = []
            for entry in asked["files"]:
                name = entry["path"]
                is_large = name.endswith(LFS_SUFFIXES)
                told = {
                    "path": name,
                    "uploadMode": "lfs" if is_large else "regular",
                    "shouldIgnore": name in hub.ignored,
                }
                if name in files:
                    known = describe(name, files[name])
                    told["oid"] = known["lfs"]["sha256"] if is_large else known["blobId"]
                answer.append(told)
            self.send(200, {"files": answer})

        def batch(self, asked: dict[str, Any]) -> None:
            objects = []
            for entry in asked["objects"]:
                oid = entry["oid"]
                if oid not in hub.objects:
                    href = f"{hub.address}/lfs/{oid}"
                    entry = {**entry, "actions": {"upload": {"href": href}}}
                objects.append(entry)
            self.send(200, {"transfer": "basic", "objects": objects})

        def do_PUT(self) -> None:
            nbytes = int(self.headers["Content-Length"])
            cut = hub.cuts > 0 and hub.cut_after is not None
            wanted = min(nbytes, hub.cut_after or 0) if cut else nbytes
            data = bytearray()
            while len(data) < wanted:
                piece = self.rfile.read(min(PIECE_BYTES, wanted - len(data)))
                if not piece:
                    break
                data += piece
            hub.puts.append(len(data))
            oid = self.path.rpartition("/")[2]
            if cut:
                hub.cuts -= 1
                self.close_connection = True
            elif hashlib.sha256(data).hexdigest() != oid:
                self.send(400, {"error": "sha256 differs"})
            else:
                hub.objects[oid] = bytes(data)
                self.send(200, {})

        def commit(self, files: dict[str, bytes], lines: list[dict[str, Any]]) -> None:
            names = []
            for line in lines[1:]:
                entry = line["value"]
                names.append(entry["path"])
                if line["key"] == "file":
                    files[entry["path"]] = base64.b64decode(entry["content"])
                elif line["key"] == "lfsFile":
                    files[entry["path"]] = hub.objects[entry["oid"]]
                else:
                    del files[entry["path"]]
            hub.commits.append(names)
            hub.damage(files)
            url = f"{hub.address}/ada/repo/commit/{'1' * 40}"
            self.send(200, {"success": True, "commitOid": "1" * 40, "commitUrl": url})

        def send(self, status: int, answer: object, code: str | None = None) -> None:
            content = json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                if code is not None:
                    self.send_header("X-Error-Code", code)
                self.end_headers()
                self.wfile.write(content)
            except OSError:  # Whoever asked has gone.
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub = UploadHub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
