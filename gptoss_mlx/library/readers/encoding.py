"""Finds the encoding of a text: by its BOM, as UTF-8, as declared, or by statistics."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from encodings.aliases import aliases

__all__ = ["BINARY", "decode", "find_encoding"]

BINARY = "binary"
"""What ``find_encoding`` returns for what is not text."""

# UTF-32's BOM begins with that of UTF-16.
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Browsers read these as their supersets too (https://encoding.spec.whatwg.org).
_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
}

# Codecs of Python that are no character sets, or that need quadratic time.
_NO_CHARACTER_SETS = {
    "base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "utf_7", "uu_codec",
    "zlib_codec",
}  # fmt: skip

# The other code pages for Latin letters look alike in a short text; this one is usual.
_GUESSED = [
    "cp1252", "cp932", "euc_jp", "gb18030", "big5", "cp949", "cp1251", "koi8_r", "cp1253",
    "cp1255", "cp1256",
]  # fmt: skip

# Those that no text has in number.
_CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\v\f\r\x1b"))

# How ISO-2022-JP begins its Japanese: all of its bytes are ASCII.
_ISO_2022_JP = (b"\x1b$B", b"\x1b$@")

# Statistics take time, and the beginning is enough.
_SAMPLE_BYTES = 32 << 10


def find_encoding(chunks: Iterable[bytes], declared: str | None = None) -> str:
    """Return the name of Python's codec for a text, or ``BINARY``.

    Args:
        chunks: The bytes of the whole text, in order.
        declared: The character set that the document states, if any.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    sample = b""
    is_utf8 = True
    is_iso_2022_jp = False
    for chunk in chunks:
        if not sample:
            for bom, encoding in _BOMS:
                if chunk.startswith(bom):
                    return encoding
        if b"\0" in chunk:
            return BINARY
        is_iso_2022_jp |= b"\x1b" in chunk and any(code in chunk for code in _ISO_2022_JP)
        if is_utf8:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                is_utf8 = False
                sample = _sample(chunk, error.start)
            else:
                sample = chunk[-_SAMPLE_BYTES:]
    if is_utf8:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            is_utf8 = False
    if sum(byte in _CONTROLS for byte in sample) > len(sample) // 10:
        return BINARY
    if is_iso_2022_jp:
        return "iso2022_jp_ext"
    return "utf-8" if is_utf8 else _known(declared) or _guess(sample)


def decode(content: bytes, declared: str | None = None) -> str:
    """Decode a text; what is invalid becomes U+FFFD. Binary data are read as Latin-1."""
    encoding = find_encoding([content] if content else [], declared)
    if encoding == BINARY:
        encoding = _known(declared) or "latin-1"
    return content.decode(encoding, errors="replace")


def _sample(chunk: bytes, place: int) -> bytes:
    """Return whole lines around what is no UTF-8: the beginning may be ASCII."""
    start = max(chunk.rfind(b"\n", 0, place) + 1, place - _SAMPLE_BYTES // 2)
    sample = chunk[start : start + _SAMPLE_BYTES]
    end = sample.rfind(b"\n") + 1
    return sample[:end] if start + len(sample) < len(chunk) and end else sample


def _known(declared: str | None) -> str | None:
    """Return Python's codec for a declared character set, or None."""
    try:
        name = codecs.lookup((declared or "").strip()).name
    except (LookupError, ValueError):  # ValueError: it contains NUL
        return None
    module = name.replace("-", "_").lower()
    module = aliases.get(module, module)
    if module in _NO_CHARACTER_SETS or module not in set(aliases.values()):
        return None
    # It would be valid, and is not.
    return None if name == "utf-8" else _SUPERSETS.get(name, name)


def _guess(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=_GUESSED).best()
    return "cp1252" if best is None else best.encoding
