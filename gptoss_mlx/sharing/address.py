"""The short line that names a model, ``NAME@DIGEST``, and where to fetch it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from gptoss_mlx.errors import DownloadError
from gptoss_mlx.manifest_digest import model_id

__all__ = ["DIGEST_DIGITS", "Address", "is_name", "parse_address"]

DIGEST_DIGITS = 32
"""Hexadecimal digits of a manifest's sha256 in the short line."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(rf"[0-9a-f]{{{DIGEST_DIGITS},64}}")
_FORM = "http://ADDRESS:PORT/NAME@DIGEST"


def is_name(text: object) -> bool:
    """Whether a text from elsewhere may name a model or a file: no path, nothing hidden."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Address:
    """What is to be fetched, as far as it was named.

    Attributes:
        host: None: the machine on the network that offers it.
        name: None: the only model that the host shares.
        digest: Beginning of the manifest's sha256. None: the server is trusted.
    """

    host: str | None
    port: int
    name: str | None
    digest: str | None

    @property
    def url(self) -> str:
        """The address as it is typed."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        model = self.name or ""
        if self.name and self.digest:
            model = model_id(self.name, self.digest)
        return f"http://{host}:{self.port}/{model}" if host else model


def parse_address(text: str, *, port: int) -> Address:
    """Read ``NAME``, ``ADDRESS``, ``ADDRESS:PORT/NAME`` or a URL; ``@DIGEST`` may follow.

    Args:
        text: As typed.
        port: The port if none is named.

    Raises:
        DownloadError: It has none of these forms.
    """
    place, at, digest = text.strip().rpartition("@")
    if not at:
        place, digest = digest, ""
    digest = digest.lower()
    if at and not _DIGEST.fullmatch(digest):
        raise DownloadError(
            f"A digest must be {DIGEST_DIGITS} to 64 hexadecimal digits but is {digest!r}.",
            hint="Copy the whole command that gptoss-mlx share prints.",
        )
    if not _is_place(place):
        if not is_name(place):
            raise _wrong(text)
        return Address(None, port, place, digest or None)
    try:
        parts = urlsplit(place if "://" in place else f"http://{place}")
        host, chosen = parts.hostname, parts.port
    except ValueError as error:
        raise _wrong(text) from error
    name = parts.path.strip("/")
    extra = parts.query or parts.fragment or parts.username or parts.password
    if parts.scheme != "http" or not host or extra or (name and not is_name(name)):
        raise _wrong(text)
    return Address(host, chosen or port, name or None, digest or None)


def _is_place(text: str) -> bool:
    """Whether a text begins with an address, and is not just a name."""
    if "/" in text or ":" in text or text == "localhost" or text.endswith(".local"):
        return True
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _wrong(text: str) -> DownloadError:
    return DownloadError(
        f"A shared model must be named as {_FORM} but is {text!r}.",
        hint="Copy the whole command that gptoss-mlx share prints.",
    )
