"""Requests small answers of the Hub whole, into memory, with some tries."""

from __future__ import annotations

import time
from collections.abc import Callable

from gptoss_mlx.sharing import transfer
from gptoss_mlx.sharing.background import Stop
from gptoss_mlx.sharing.hub import Hub
from gptoss_mlx.sharing.hub_answers import Dropped

__all__ = ["fetch_beginning", "try_often"]


def fetch_beginning(hub: Hub, name: str, nbytes: int, stop: int, check: Stop) -> bytes:
    """Request the first bytes of a file.

    Args:
        hub: Where it is.
        name: The file's name.
        nbytes: The file's length.
        stop: How many bytes; at most ``nbytes``.
        check: Called before each try.

    Raises:
        DownloadError: The Hub cannot be reached, or sends something else.
    """
    if not stop:
        return b""

    def request() -> bytes:
        found = b""
        with hub.request(name, nbytes, 0, stop) as (_, pieces):
            for piece in pieces:
                found += piece
                if len(found) >= stop:
                    return found[:stop]
        raise Dropped(f"the connection ended {stop - len(found):,} bytes early")

    return try_often(hub, request, check)


def try_often(hub: Hub, request: Callable[[], bytes], check: Stop) -> bytes:
    """Call ``request`` again while it raises ``Dropped``, with longer and longer pauses.

    Raises:
        DownloadError: The Hub cannot be reached, or ``request`` has raised it.
    """
    failures = 0
    while True:
        check()
        try:
            return request()
        except Dropped as dropped:
            failures += 1
            if failures == transfer.ATTEMPTS or not dropped.contact:
                raise hub.unreachable(str(dropped)) from dropped
            pause = dropped.pause_s or transfer.FIRST_PAUSE_S * 2 ** (failures - 1)
            until = time.monotonic() + pause
            while time.monotonic() < until:
                check()
                time.sleep(min(0.1, pause))
