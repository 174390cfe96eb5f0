"""A folder with a manifest, to be shared, and the server in a process of its own."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gptoss_mlx.manifest import MANIFEST, FileEntry, Manifest, Provenance

__all__ = ["CONFIG", "Served", "serve_apart", "status_of", "write_shared_folder"]

CONFIG = b'{"model_type": "gpt_oss"}\n'

PROGRAM = """
import sys
from pathlib import Path
from gptoss_mlx.sharing import serve
serve.IDLE_S = float(sys.argv[1])
with serve.serve(*map(Path, sys.argv[2:]), host="127.0.0.1", port=0) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


def write_shared_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files and a manifest of them. They are no checkpoint."""
    folder.mkdir(parents=True)
    entries = {}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        entries[name] = FileEntry(len(content), hashlib.sha256(content).hexdigest())
    source = Provenance("huggingface", None, None, "tiny")
    manifest = Manifest(source, "exact", {"gptoss_mlx": "0"}, entries, {})
    (folder / MANIFEST).write_bytes(manifest.encode())


@contextmanager
def serve_apart(
    *folders: Path, idle_s: float = 15.0
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Serve folders in another process; yield its port and the process."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(idle_s), *map(str, folders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline()), process
    finally:
        process.communicate(timeout=20)


class Served(NamedTuple):
    """A server in a process of its own."""

    port: int
    process: subprocess.Popen[str]
    folder: Path

    def send(self, *requests: bytes, wait_s: float = 20.0) -> bytes:
        """Send bytes, and return all that is answered until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), wait_s) as connection:
            for request in requests:
                try:
                    connection.sendall(request)
                except OSError:  # it has closed the connection already
                    break
            answer = bytearray()
            try:
                while piece := connection.recv(1 << 16):
                    answer += piece
            except ConnectionResetError:
                pass
            return bytes(answer)

    def get(self, path: str, *headers: str, method: str = "GET") -> bytes:
        """Request a path as it is written."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def body(self, path: str, *headers: str) -> bytes:
        """Request a path, and return what follows the head."""
        return self.get(path, *headers).partition(b"\r\n\r\n")[2]

    @property
    def peak_bytes(self) -> int:
        """The most memory that the process has used."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(x for x in status.splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) << 10


def status_of(answer: bytes) -> int | None:
    """The status of an answer; None for what is none."""
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else None
