"""Requests a shared model from another machine, and trusts none of its answers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from gptoss_mlx import __version__
from gptoss_mlx.errors import DownloadError, GptOssError
from gptoss_mlx.files import parse_json
from gptoss_mlx.macos import local_network_hint
from gptoss_mlx.sharing.address import Address, is_name
from gptoss_mlx.sharing.hub_answers import Dropped
from gptoss_mlx.sharing.hub_settings import UNKNOWN_HOST, reason_text, short_text

if TYPE_CHECKING:
    import httpx2

__all__ = ["Offer", "Peer", "parse_offer"]

CONNECT_S, READ_S = 10.0, 30.0
SMALL_S = 60.0
"""Seconds in which a small file must arrive."""
MAX_LIST_BYTES = 1 << 20
MAX_OFFERS = 100

_TRANSIENT = (408, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that a machine shares, as that machine describes it.

    Attributes:
        address: Where it is, with its name and digest.
        nbytes: Bytes of its files.
    """

    address: Address
    nbytes: int
    recipe: str

    @property
    def name(self) -> str:
        """Its name there."""
        return self.address.name or ""


def parse_offer(host: str, port: int, entry: object) -> Offer | None:
    """Read a description of a model; None if it is none."""
    if not isinstance(entry, dict):
        return None
    name, digest, nbytes = entry.get("name"), entry.get("digest"), entry.get("bytes")
    recipe = entry.get("recipe")
    if not is_name(name) or not isinstance(digest, str) or not isinstance(recipe, str):
        return None
    if not _SHA256.fullmatch(digest) or type(nbytes) is not int or nbytes < 0:
        return None
    return Offer(Address(host, port, name, digest), nbytes, recipe[:40])


class Peer:
    """A share server.

    Several threads may request from it. Redirections are not followed, proxies are not
    used: it is on the local network.
    """

    def __init__(self, host: str, port: int, *, connections: int, again: str) -> None:
        """Prepare for requests; nothing is sent.

        Args:
            host: Its name or IP address.
            port: Its port.
            connections: The most connections at a time.
            again: The command that continues after an interruption, for hints.
        """
        import httpx2

        self.host, self._port = host, port
        self._again = f"Run it again, and it continues where it stopped: {again}"
        self._base = Address(host, port, None, None).url.rstrip("/")
        self._client = httpx2.Client(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx2.Timeout(READ_S, connect=CONNECT_S),
            limits=httpx2.Limits(max_connections=connections + 1),
            headers={
                "user-agent": f"gptoss-mlx/{__version__}",
                "accept-encoding": "identity",
            },
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def offers(self) -> list[Offer]:
        """Return the models that it shares.

        Raises:
            DownloadError: It cannot be reached, or is no share server.
        """
        try:
            entries = parse_json(self.small("", MAX_LIST_BYTES))
        except ValueError as error:
            self._wrong("its list", f"sends no JSON: {error}")
        if not isinstance(entries, list):
            self._wrong("its list", "sends something else")
        found = [parse_offer(self.host, self._port, e) for e in entries[:MAX_OFFERS]]
        return [offer for offer in found if offer is not None]

    def small(self, path: str, max_bytes: int) -> bytes:
        """Fetch a small file as a whole.

        Args:
            path: ``NAME/FILE``.
            max_bytes: The most bytes that it may have.

        Raises:
            DownloadError: The machine cannot be reached, or sends something else.
        """
        content, until = bytearray(), time.monotonic() + SMALL_S
        try:
            with self._requested(path, {}) as response:
                self._check(response, path, 200)
                for piece in response.iter_raw():
                    content += piece
                    if len(content) > max_bytes:
                        self._wrong(path, f"sends over {max_bytes:,} bytes")
                    if time.monotonic() > until:
                        raise self.unreachable(f"{path} takes over {SMALL_S:.0f} s")
        except Dropped as dropped:
            raise self.unreachable(str(dropped)) from dropped
        return bytes(content)

    def read_into(
        self,
        path: str,
        start: int,
        buffer: memoryview,
        total: int,
        *,
        hear: Callable[[int], None],
        stop: threading.Event,
    ) -> None:
        """Fetch a range of a file that has ``total`` bytes into a buffer of its length.

        Args:
            path: ``NAME/FILE``.
            start: Its first byte.
            buffer: Where it goes.
            total: The file's required length.
            hear: Called with the number of bytes that have arrived, each time.
            stop: Once it is set, the range is left unfinished.

        Raises:
            Dropped: Another try may help, from the bytes on that were heard of.
            DownloadError: Another try does not help.
        """
        end, got = start + len(buffer), 0
        with self._requested(path, {"range": f"bytes={start}-{end - 1}"}) as response:
            self._check(response, path, 206)
            sent = response.headers.get("content-range", "")
            found = _CONTENT_RANGE.fullmatch(sent)
            if not found or [int(n) for n in found.groups()] != [start, end - 1, total]:
                what = short_text(sent) or "no range"
                self._wrong(path, f"sends {what} for bytes {start}-{end - 1}/{total}")
            length = response.headers.get("content-length", str(len(buffer)))
            if length != str(len(buffer)):
                self._wrong(path, f"sends {short_text(length)} bytes for {len(buffer):,}")
            for piece in response.iter_raw():
                if stop.is_set():
                    return
                if got + len(piece) > len(buffer):
                    self._wrong(path, f"sends more than {len(buffer):,} bytes of a range")
                buffer[got : got + len(piece)] = piece
                got += len(piece)
                hear(len(piece))
        if got < len(buffer):
            raise Dropped(f"the connection ended {len(buffer) - got:,} bytes early")

    @contextmanager
    def _requested(self, path: str, headers: dict[str, str]) -> Iterator[httpx2.Response]:
        try:
            with self._client.stream(
                "GET", f"{self._base}/{path}", headers=headers
            ) as response:
                yield response
        except (Dropped, GptOssError):
            raise
        except Exception as error:
            self._translate(error)

    def _check(self, response: httpx2.Response, path: str, expected: int) -> None:
        status = response.status_code
        if status in _TRANSIENT:
            raise Dropped(f"{self.host} answers with status {status}")
        if 300 <= status < 400:
            self._wrong(path, "redirects to another address, which is not followed")
        if status == 404:
            raise DownloadError(
                f"{path} must be shared by {self.host} but is not.",
                hint="List what is shared: gptoss-mlx pull",
            )
        if status != expected:
            self._wrong(path, f"answers with status {status} instead of {expected}")
        if "html" in response.headers.get("content-type", "").lower():
            self._wrong(path, "sends a web page")
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            self._wrong(path, f"sends it encoded ({short_text(encoding)})")

    def _wrong(self, path: str, what: str) -> NoReturn:
        raise DownloadError(
            f"{path} must come as it is shared, but {self.host} {what}.",
            hint="Check that gptoss-mlx share runs there, in the same version.",
        )

    def _translate(self, error: Exception) -> NoReturn:
        import httpx2

        reason = reason_text(error)
        lasting = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)
        if isinstance(error, httpx2.TransportError) and not isinstance(error, lasting):
            contact = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise Dropped(reason, contact=contact) from error
        raise DownloadError(
            f"{self.host} must be reachable but is not: {reason}.", hint=self._again
        ) from error

    def unreachable(self, reason: str) -> DownloadError:
        """Return the error for a machine that was not reached."""
        if "refused" in reason:
            hint = f"Check that gptoss-mlx share still runs there. {self._again}"
        elif reason == UNKNOWN_HOST:
            hint = (
                "Copy the whole command that gptoss-mlx share prints. A model on the Hub: "
                "gptoss-mlx download USER/REPO"
            )
        else:
            hint = local_network_hint(self._again, reason)
        return DownloadError(
            f"{self.host} must be reachable but is not: {reason}.", hint=hint
        )
