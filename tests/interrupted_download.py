"""``gptoss-mlx download`` of a release from a stand-in, in a process to be interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from local_hub import COMMIT, Hub

from gptoss_mlx.sharing.releases import Pin, Release

__all__ = ["REPOSITORY", "Repeated", "end", "pin", "start"]

REPOSITORY = "openai/gpt-oss-tiny"
BLOCK_BYTES = (1 << 20) - 1

# All of the command but the conversion: what is fetched is no checkpoint.
PROGRAM = """
import json, sys
from types import SimpleNamespace
from gptoss_mlx.sharing import get
from gptoss_mlx.sharing.releases import Pin, Release
repository, revision, pins, prelude, *options = sys.argv[1:]
pins = {name: Pin(*pin) for name, pin in json.loads(pins).items()}
get.find_release = lambda name: Release(repository, revision, pins)
get.convert_checkpoint = lambda *_, **__: SimpleNamespace(model_id="tiny")
exec(prelude)
sys.argv = ["gptoss-mlx", "download", "20b", "--recipe", "exact", *options]
from gptoss_mlx.cli.app import main
main()
"""


class Repeated(Sequence[int]):
    """Random bytes that take no memory: one block, over and over."""

    def __init__(self, nbytes: int, seed: int) -> None:
        self._nbytes = nbytes
        self._block = random.Random(seed).randbytes(BLOCK_BYTES)

    def __len__(self) -> int:
        return self._nbytes

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> bytes: ...
    def __getitem__(self, place: int | slice) -> int | bytes:
        if isinstance(place, int):
            return self._block[place % BLOCK_BYTES]
        begin, stop, _ = place.indices(self._nbytes)
        first = begin % BLOCK_BYTES
        times = (first + stop - begin) // BLOCK_BYTES + 1
        return (self._block * times)[first : first + stop - begin]

    def pieces(self) -> Iterator[bytes]:
        """All of it, a piece at a time."""
        for begin in range(0, self._nbytes, 1 << 20):
            yield self[begin : begin + (1 << 20)]


def pin(data: Repeated) -> Pin:
    """What a release says of the bytes."""
    digest = hashlib.sha256()
    for piece in data.pieces():
        digest.update(piece)
    return Pin(len(data), digest.hexdigest())


def start(
    endpoint: str,
    release: Release,
    home: Path,
    *,
    prelude: str = "",
    options: Sequence[str] = (),
    **variables: str,
) -> subprocess.Popen[str]:
    """Start the command; the cache and the store lie in ``home``."""
    pins = json.dumps({name: list(pin) for name, pin in release.files.items()})
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, REPOSITORY, COMMIT, pins, prelude, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(home / "hf"),
            "GPTOSS_MLX_HOME": str(home / "store"),
            **variables,
        },
    )


def end(process: subprocess.Popen[str], *signals: signal.Signals) -> tuple[float, str]:
    """Send signals, 0.1 s apart; return the seconds until the end, and stderr."""
    began = time.perf_counter()
    for i, number in enumerate(signals):
        if i:
            time.sleep(0.1)
        process.send_signal(number)
    try:
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    return time.perf_counter() - began, told


def wait_for_requests(hub: Hub, count: int) -> None:
    """Wait until the Hub has been asked so often."""
    until = time.monotonic() + 60
    while len(hub.requests) < count:
        assert time.monotonic() < until
        time.sleep(0.01)
