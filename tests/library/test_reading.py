from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from small_documents import DOCUMENTS, archive, docx, epub, paragraph, pdf

from gptoss_mlx.errors import NoPermissionError, StorageError, UnreadableDocumentError
from gptoss_mlx.library.reading import read_document
from gptoss_mlx.library.text import Text

Read = Callable[[str, bytes], Text]

COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(5000)


def reason(path: Path, **limits: int) -> str:
    """Why a document is skipped; the message has its path too."""
    with pytest.raises(UnreadableDocumentError) as caught:
        read_document(path, **limits)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert caught.value.path == path
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.rtf", rb"{\rtf1\ansi Hello}", "RTF is not supported yet"),
        ("a.txt", rb"{\rtf1\ansi Hello}", "RTF is not supported yet"),
        ("a.pages", archive({"Index/Document.iwa": "x"}), "Pages is not supported yet"),
        ("a.odt", archive({"content.xml": "x"}), "ODT is not supported yet"),
        ("a.xlsx", archive({"xl/a.xml": "x"}), "Excel is not supported yet"),
        ("a.doc", COMPOUND, "Word 97 is not supported yet"),
        ("a", COMPOUND, "Office before 2007 is not supported yet"),
        ("a.docx", COMPOUND + "EncryptedPackage".encode("utf-16-le"), "needs a password"),
        ("a.pdf", pdf([["a"]], encrypted=True), "needs a password"),
        ("a.pdf", pdf([[], []]), "a scanned PDF without text"),
        ("a.pdf", b"", "is empty"),
        ("a.docx", b"", "is empty"),
        ("a.epub", b"", "is empty"),
        ("a.zip", archive({"a.txt": "x"}), "a binary file"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(20), "a binary file"),
        ("a.html", b"<p>a\0b", "a binary file"),
        ("a.docx", b"PK", "is damaged: File is not a zip file"),
        ("a.docx", archive({"a": "x"}), "is damaged: it has no [Content_Types].xml"),
        ("a.epub", archive({"a": "x"}), "is damaged: it has no META-INF/container.xml"),
        (
            "a.epub",
            epub({}, more={"META-INF/rights.xml": "x"}),
            "is protected against copying (DRM)",
        ),
    ],
)
def test_why_a_document_is_skipped(
    name: str, content: bytes, expected: str, tmp_path: Path
) -> None:
    """In a few words, for a list."""
    path = tmp_path / name
    path.write_bytes(content)

    assert reason(path) == expected


@pytest.mark.parametrize("content", [b"no PDF", b"%PDF-1.4\n"])
def test_what_is_no_pdf(content: bytes, tmp_path: Path) -> None:
    """It is damaged."""
    path = tmp_path / "a.pdf"
    path.write_bytes(content)

    assert reason(path).startswith("is damaged: ")


@pytest.mark.parametrize(
    ("nbytes", "max_bytes", "limit"),
    [((1 << 30) + 1, 1 << 30, "1 GB"), (11, 10, "10 bytes"), (2 << 20, 3 << 19, "1.5 MB")],
)
def test_a_document_over_the_limit(
    nbytes: int, max_bytes: int, limit: str, tmp_path: Path
) -> None:
    """It is skipped, and none of it is read."""
    path = tmp_path / "a.txt"
    path.touch()
    os.truncate(path, nbytes)

    assert reason(path, max_bytes=max_bytes) == f"over {limit}"


def test_a_document_at_the_limit(read: Read, tmp_path: Path) -> None:
    """It is read."""
    read("a.txt", b"12345")

    assert read_document(tmp_path / "a.txt", max_bytes=5).lines == ("12345",)


def test_a_page_without_a_suffix(read: Read) -> None:
    """HTML is known by its beginning."""
    assert read("page", b"\n<!DOCTYPE HTML><title>A</title>b") == Text("A", ("b",))


def test_a_pipe_a_device_and_a_folder(tmp_path: Path) -> None:
    """They are refused at once."""
    pipe = tmp_path / "a.txt"
    os.mkfifo(pipe)
    link = tmp_path / "b.txt"
    link.symlink_to("/dev/zero")

    for path in (pipe, link, Path("/dev/zero"), tmp_path):
        assert reason(path) == "is not a file"


def test_a_link_to_itself_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The system's reason is given."""
    link = tmp_path / "a.txt"
    link.symlink_to(link)

    for path in (link, tmp_path / "none.txt", tmp_path / "a\0b", tmp_path / ("a" * 300)):
        with pytest.raises(StorageError):
            read_document(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_document_that_may_not_be_read(read: Read, tmp_path: Path) -> None:
    """That is no fault of the document."""
    read("a.txt", b"a")
    (tmp_path / "a.txt").chmod(0)

    with pytest.raises(NoPermissionError):
        read_document(tmp_path / "a.txt")


def test_a_file_that_is_only_in_icloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not opened, which would fetch it."""
    old = tmp_path / ".lease.pdf.icloud"
    old.write_bytes(b"bplist00")
    new = tmp_path / "lease.txt"
    new.write_bytes(b"a")
    status = os.stat

    def dataless(path: Path, **more: Any) -> Any:
        found = status(path, **more)
        return SimpleNamespace(st_mode=found.st_mode, st_flags=0x40000060)

    assert reason(old) == "an iCloud placeholder"
    monkeypatch.setattr(os, "open", None)
    monkeypatch.setattr(Path, "stat", dataless)
    assert reason(new) == "an iCloud placeholder"


def test_plain_text_needs_no_package(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do Markdown, code, CSV and mail."""
    for module in ("lxml", "docx", "pypdfium2"):
        monkeypatch.setitem(sys.modules, module, None)

    for name in ("a.txt", "a.md", "a.py", "a.csv", "a.eml"):
        assert read(name, DOCUMENTS[name]).lines


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_of_each_kind(name: str, read: Read) -> None:
    """It has lines without line ends, and headings and pages within them."""
    text = read(name, DOCUMENTS[name])

    assert text.title
    assert text.lines
    assert not [line for line in text.lines if {"\n", "\r"} & set(line)]
    assert all(heading.line < len(text.lines) for heading in text.headings)
    assert list(text.pages) == sorted(text.pages)


def test_a_link_out_of_an_archive(tmp_path: Path, read: Read) -> None:
    """It leads nowhere: a member is found by its name alone."""
    secret = tmp_path / "secret.xhtml"
    secret.write_text("<p>secret")
    for link in (
        "../../../secret.xhtml", "..%2f..%2f..%2fsecret.xhtml", str(secret),
        f"file://{secret}", "../../etc/passwd",
    ):  # fmt: skip
        content = epub(
            {link: ""}, more={"OPS/" + link: "<p>no", "../secret.xhtml": "<p>no"}
        )
        path = tmp_path / "a.epub"
        path.write_bytes(content)
        assert reason(path) == "is damaged: it has no chapters"


def test_entities_are_not_read_from_files(tmp_path: Path, read: Read) -> None:
    """In DOCX, EPUB and HTML."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    dtd = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'
    word = docx(paragraph("A &e;"))
    word = docx("", more={"word/document.xml": dtd + member(word, "word/document.xml")})
    book = epub({"a.xhtml": "<p>A &e;"})
    book = epub(
        {"a.xhtml": ""},
        more={
            "OPS/a.xhtml": dtd + "<html><p>A &e;</html>",
            "OPS/book.opf": dtd + member(book, "OPS/book.opf").replace("A book", "&e;"),
        },
    )

    for name, content in (
        ("a.docx", word),
        ("a.epub", book),
        ("a.html", dtd.encode() + b"&e;"),
    ):
        assert "secret" not in repr(read(name, content)).replace("secret.txt", "")


def member(content: bytes, name: str) -> str:
    """Return a member of a ZIP archive."""
    return zipfile.ZipFile(io.BytesIO(content)).read(name).decode()
