"""The environment's settings for the Hub: which one an error is about, without secrets."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

from gptoss_mlx.controls import escaped
from gptoss_mlx.errors import DownloadError

__all__ = [
    "UNKNOWN_HOST",
    "check_token_file",
    "reason_text",
    "refused",
    "set_proxies",
    "set_variables",
    "short_text",
    "with_value",
]

MAX_TOKEN_BYTES = 4096

_PROXIES = ("ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# What h11 says of an answer that is not HTTP.
UNKNOWN_HOST = "the host name cannot be resolved"

_MALFORMED = re.compile(r"^(illegal|malformed) |bytearray")


def check_token_file(path: str) -> None:
    """Check the file with a token, which huggingface_hub reads to its end.

    Raises:
        DownloadError: It is a pipe, a device or a large file.
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return  # huggingface_hub finds it missing, or names the reason
    is_small = stat.S_ISREG(status.st_mode) and status.st_size <= MAX_TOKEN_BYTES
    # A folder has an error of its own.
    if not is_small and not stat.S_ISDIR(status.st_mode):
        named = (set_variables("HF_TOKEN_PATH") or ["HF_HOME"])[0]
        raise DownloadError(
            f"{path} must be a file of at most {MAX_TOKEN_BYTES:,} bytes with a token but "
            f"is not ({named} names it).",
            hint=f"Unset {named}, or remove the file: gpt-oss needs no token.",
        )


def refused(what: str, error: Exception, hint: str | None = None) -> DownloadError:
    """Return the error for a setting that huggingface_hub or httpx2 cannot use."""
    names = _blamed(error)
    if isinstance(error, ImportError) and "socks" in str(error):
        hint = "Install what it needs, pip install socksio, or unset the variable."
    elif names:
        hint = f"Unset {names[0]}, or correct it."
    by = f" with {', '.join(map(with_value, names))}" if names else ""
    return DownloadError(f"{what}{by}: {reason_text(error)}.", hint=hint)


def _blamed(error: Exception) -> list[str]:
    """Return the environment variables that an error is about, as far as known."""
    text = str(error)
    names = [
        name
        for name, value in os.environ.items()
        if name.upper().startswith(("HF_", "HUGGING", *_PROXIES))
        and (
            name in text
            or (value and repr(value) in text)
            or (isinstance(error, UnicodeError) and not value.isascii())
        )
    ]
    if names:
        return names
    if isinstance(error, OSError):
        if error.filename and error.filename == os.environ.get("SSLKEYLOGFILE"):
            return ["SSLKEYLOGFILE"]
        named = set_variables(*_CERTIFICATES)
        gone = [name for name in named if not os.path.exists(os.environ[name])]  # noqa: PTH110
        return gone or named
    if isinstance(error, ImportError | ValueError) or "URL" in repr(error):
        return set_proxies() or set_variables("HF_ENDPOINT")
    return []


def with_value(name: str) -> str:
    """Write a variable for a message, without values that may hold a password."""
    if name in (*_CERTIFICATES, "HF_ENDPOINT") or name.startswith("HF_HUB_"):
        value = os.environ[name]
        blank = not value.strip()
        return f"{name}={repr(value) if blank else reason_text(ValueError(value))}"
    return name


def set_variables(*names: str) -> list[str]:
    """Return those of the environment variables that are set."""
    return [name for name in names if os.environ.get(name)]


def set_proxies() -> list[str]:
    """Return the environment variables that name a proxy."""
    return set_variables(*_PROXIES, *(name.lower() for name in _PROXIES))


def reason_text(error: BaseException) -> str:
    """Return an error's text in one line, without passwords."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    if isinstance(_root(error), socket.gaierror):
        return UNKNOWN_HOST
    if _MALFORMED.search(text):
        return "the server's answer is malformed"
    text = re.sub(r"^\[Errno -?\d+\] ", "", text)
    text = re.sub(r"//[^/@\s]*@", "//", text)
    text = re.sub(r"Bearer [^\s'\"]+", "Bearer …", text)
    return short_text(text).rstrip(".")


def short_text(text: str) -> str:
    """Write a text from elsewhere for a message: escaped, and cut if long."""
    text = escaped(text)
    return text if len(text) <= 200 else f"{text[:199]}…"


def _root(error: BaseException) -> BaseException:
    """Return the first error of a chain: httpx2 keeps only its text."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error
