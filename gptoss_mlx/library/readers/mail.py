"""Reads e-mail: who wrote to whom and when, and the text."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage, Message

from gptoss_mlx.library.readers.encoding import decode
from gptoss_mlx.library.readers.html import parse_html
from gptoss_mlx.library.readers.source import Source, one_line, read_all
from gptoss_mlx.library.text import Text

__all__ = ["read_mail"]

_MAX_BYTES = 128 << 20
_MAX_PARTS = 50_000

# The parser of headers takes quadratic time.
_MAX_HEADER_CHARACTERS = 2_000
_SHOWN = ("From", "To", "Cc", "Date", "Subject")


def read_mail(source: Source) -> Text:
    """Read a message (RFC 5322). Its plain text is preferred to its HTML.

    Raises:
        UnreadableDocumentError: It is too large, or is HTML and lxml is not installed.
    """
    content = read_all(source, max_bytes=_MAX_BYTES)
    if content.count(b"\n--") > _MAX_PARTS:
        raise source.unreadable(f"a mail of over {_MAX_PARTS:,} parts")
    message = email.message_from_bytes(content, policy=email.policy.default)
    headers = _headers(message)
    lines = [f"{name}: {headers[name]}" for name in _SHOWN if name in headers]
    lines += [f"Attachment: {name}" for name in _attachments(message)]
    if body := _body(message, source):
        lines += ["", *body]
    return Text(headers.get("Subject") or source.path.name, tuple(lines))


def _headers(message: Message) -> dict[str, str]:
    """Return the first of each header that is shown, decoded as far as it can be."""
    wanted = {name.lower(): name for name in _SHOWN}
    headers: dict[str, str] = {}
    for field, raw in message.raw_items():
        name = wanted.get(field.lower())
        if name is None or name in headers:
            continue
        # A line end within a header is none of its characters (RFC 5322, section 2.2.3).
        unfolded = "".join(str(raw)[:_MAX_HEADER_CHARACTERS].splitlines())
        headers[name] = _valid(one_line(_decoded(name, unfolded)))
    return headers


def _decoded(name: str, value: str) -> str:
    try:
        return str(email.policy.default.header_factory(name, value))
    except Exception:
        # The standard library raises many kinds for a malformed header: show it as it is.
        return value


def _body(message: EmailMessage, source: Source) -> list[str]:
    part = message.get_body(("plain", "html"))
    if part is None:
        return []
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return []
    declared = part.get_content_charset()
    if part.get_content_type() == "text/html":
        return parse_html(payload, source, declared=declared).lines
    text = decode(payload, declared).replace("\0", "")
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return "\n".join(lines).replace("\r", "\n").strip("\n").split("\n")


def _attachments(message: EmailMessage) -> Iterator[str]:
    for part in message.walk():
        if name := part.get_filename():
            yield _valid(one_line(name))[:_MAX_HEADER_CHARACTERS]


def _valid(text: str) -> str:
    """Replace the bytes of a header that are no characters."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
