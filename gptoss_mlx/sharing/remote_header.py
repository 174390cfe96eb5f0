"""Reads the header of a safetensors file on the Hub, by its first bytes alone."""

from __future__ import annotations

from pathlib import Path

from gptoss_mlx.checkpoint.safetensors import MAX_HEADER_BYTES, Header, parse_header
from gptoss_mlx.errors import CorruptFileError, DownloadError
from gptoss_mlx.sharing.background import Stop
from gptoss_mlx.sharing.hub import Hub
from gptoss_mlx.sharing.small_requests import fetch_beginning

__all__ = ["fetch_header"]

# The headers of gpt-oss take about 15 kB.
FIRST_BYTES = 64 << 10


def fetch_header(hub: Hub, name: str, nbytes: int, check: Stop) -> Header:
    """Request a file's header. It is of the right form, but may be another file's.

    Args:
        hub: Where it is.
        name: The file's name.
        nbytes: The file's length.
        check: Called before each request.

    Raises:
        DownloadError: The Hub cannot be reached, or sends no header.
    """
    begin = fetch_beginning(hub, name, nbytes, min(FIRST_BYTES, nbytes), check)
    length = int.from_bytes(begin[:8], "little")
    if 8 + length > min(nbytes, MAX_HEADER_BYTES):
        raise _wrong(hub, name, f"its header would have {length:,} bytes")
    if 8 + length > len(begin):
        begin = fetch_beginning(hub, name, nbytes, 8 + length, check)
    header = Header(begin[8 : 8 + length], nbytes)
    try:
        parse_header(header.content, Path(name), nbytes)
    except CorruptFileError as error:
        raise _wrong(hub, name, str(error).rstrip(".")) from error
    return header


def _wrong(hub: Hub, name: str, found: str) -> DownloadError:
    return DownloadError(
        f"{name} must be the released file, but the Hub sends another: {found}.",
        hint=hub.place_hint(),
    )
