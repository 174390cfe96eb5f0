"""Reads a document of any kind: by its beginning, then by its suffix."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from gptoss_mlx.errors import (
    GptOssError,
    UnreadableDocumentError,
    WrongFileError,
    storage_errors,
)
from gptoss_mlx.files import open_file
from gptoss_mlx.library.readers.code import CODE_SUFFIXES, read_code
from gptoss_mlx.library.readers.docx import read_docx
from gptoss_mlx.library.readers.epub import read_epub
from gptoss_mlx.library.readers.html import read_html
from gptoss_mlx.library.readers.mail import read_mail
from gptoss_mlx.library.readers.markdown import read_markdown
from gptoss_mlx.library.readers.pdf import read_pdf
from gptoss_mlx.library.readers.plain import read_plain
from gptoss_mlx.library.readers.source import Source, one_line
from gptoss_mlx.library.readers.table import read_csv
from gptoss_mlx.library.text import Text

__all__ = ["PLACEHOLDER", "is_placeholder", "read_document"]

PLACEHOLDER = "an iCloud placeholder"
"""The reason that a file is skipped whose content is only in iCloud."""

Reader = Callable[[Source], Text]

_READERS: dict[str, Reader] = {
    ".csv": read_csv,
    ".docx": read_docx,
    ".eml": read_mail,
    ".epub": read_epub,
    ".htm": read_html,
    ".html": read_html,
    ".markdown": read_markdown,
    ".md": read_markdown,
    ".pdf": read_pdf,
    ".tsv": read_csv,
    ".xhtml": read_html,
    **dict.fromkeys(CODE_SUFFIXES, read_code),
}

# Kinds that many people have, and that need another reader.
_NOT_YET = {
    ".doc": "Word 97",
    ".docm": "DOCM",
    ".key": "Keynote",
    ".numbers": "Numbers",
    ".odt": "ODT",
    ".pages": "Pages",
    ".ppt": "PowerPoint",
    ".pptx": "PowerPoint",
    ".rtf": "RTF",
    ".xls": "Excel",
    ".xlsx": "Excel",
}

_HEAD_BYTES = 4_096
_ZIP = b"PK\x03\x04"
# Of Office before 2007, and of encrypted files since.
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")

# What macOS sets for a file that is only in iCloud: reading it would fetch it.
_SF_DATALESS = 0x40000000


def read_document(path: Path, *, max_bytes: int = 1 << 30) -> Text:
    """Read the text of a document.

    It may be a link; whether that leads to what may be read is for the caller to decide.

    Args:
        path: Path of the document.
        max_bytes: The most bytes that it may have.

    Raises:
        UnreadableDocumentError: It has no text, is damaged, or of a kind that is not
            supported.
        StorageError: It cannot be opened.
    """
    _check_placeholder(path)
    try:
        with open_file(path) as file:
            source = Source(path, file, os.fstat(file.fileno()).st_size)
            if source.nbytes > max_bytes:
                raise source.unreadable(f"over {_size(max_bytes)}")
            return _read(source)
    except WrongFileError as error:
        raise UnreadableDocumentError(path, "is not a file") from error


def _read(source: Source) -> Text:
    reader = _choose(source)
    try:
        return reader(source)
    except GptOssError:
        raise
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):
            raise
        # A damaged archive leads zipfile to a place before the file's beginning.
        raise source.unreadable("is damaged: it refers to places outside it") from error
    except MemoryError as error:
        raise source.unreadable("needs too much memory") from error
    except RecursionError as error:
        raise source.unreadable("is damaged: it is nested too deeply") from error
    except Exception as error:
        # The readers are other people's packages: a damaged file may raise anything.
        reason = one_line(str(error))[:80] or type(error).__name__
        raise source.unreadable(f"is damaged: {reason}") from error


def _choose(source: Source) -> Reader:
    """Return the reader for a document.

    Raises:
        UnreadableDocumentError: There is none.
    """
    suffix = source.path.suffix.lower()
    source.file.seek(0)
    head = source.file.read(_HEAD_BYTES)
    if head.startswith(b"%PDF-"):
        return read_pdf
    if head.startswith(rb"{\rtf"):
        raise source.unreadable("RTF is not supported yet")
    if head.startswith(_COMPOUND):
        raise source.unreadable(_compound_reason(source))
    if suffix in _NOT_YET:
        raise source.unreadable(f"{_NOT_YET[suffix]} is not supported yet")
    if head.startswith(_ZIP) and suffix not in (".docx", ".epub"):
        if b"mimetypeapplication/epub+zip" in head:
            return read_epub
        if b"word/" in head:
            return read_docx
        raise source.unreadable("a binary file")
    if not head and suffix in (".docx", ".epub", ".pdf"):
        raise source.unreadable("is empty")
    if suffix in _READERS:
        return _READERS[suffix]
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:14].lower()
    if begin.startswith((b"<!doctype html", b"<html")):
        return read_html
    return read_plain


def _compound_reason(source: Source) -> str:
    """Say what an Office file in Microsoft's Compound File format is."""
    # The directory may lie anywhere; most have it near one of the ends.
    source.file.seek(0)
    content = source.file.read(1 << 20)
    source.file.seek(max(0, source.nbytes - (1 << 20)))
    if _ENCRYPTED in content + source.file.read(1 << 20):
        return "needs a password"
    name = _NOT_YET.get(source.path.suffix.lower(), "Office before 2007")
    return f"{name} is not supported yet"


def is_placeholder(name: str, status: os.stat_result | None) -> bool:
    """Return whether a file is only in iCloud.

    Args:
        name: Its name.
        status: Its status; None if it does not exist under this name.
    """
    return bool(getattr(status, "st_flags", 0) & _SF_DATALESS) or (
        name.startswith(".") and name.endswith(".icloud")
    )


def _check_placeholder(path: Path) -> None:
    status = None
    with storage_errors(path):
        try:
            status = path.stat()
        except ValueError:  # no file can have this name: open_file says so
            pass
        except FileNotFoundError:
            if not is_placeholder(path.name, None):
                raise
    if is_placeholder(path.name, status):
        raise UnreadableDocumentError(path, PLACEHOLDER)


def _size(nbytes: int) -> str:
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")):
        if nbytes >= unit:
            return f"{nbytes / unit:g} {name}"
    return f"{nbytes} bytes"
