"""No archive and no XML leads out of the document, or fills the memory."""

from __future__ import annotations

import io
import re
import socket
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from read_apart import PEAK_BYTES, SECONDS, read_apart
from small_documents import OFFICE, archive, docx, epub, members_of, paragraph

from gptoss_mlx.errors import UnreadableDocumentError
from gptoss_mlx.library.text import Text

Read = Callable[[str, bytes], Text]

WORD = docx(paragraph("A word"))
BOOK = epub({"a.xhtml": "<p>A word"}, contents={"a.xhtml": "A name"})
BOOK_PARTS = ("META-INF/container.xml", "OPS/book.opf", "OPS/nav.xhtml", "OPS/a.xhtml")
WORD_PARTS = tuple(name for name in members_of(WORD))


def text_or_reason(read: Read, name: str, content: bytes) -> str:
    """All that comes of a document."""
    try:
        return repr(read(name, content))
    except UnreadableDocumentError as error:
        return error.reason


def changed(content: bytes, part: str, change: Callable[[str], str]) -> bytes:
    """An archive with another text in one of its members."""
    members = members_of(content)
    members[part] = change(members[part].decode()).encode()
    return archive(members)


def replaced(content: bytes, part: str, old: str, new: str) -> bytes:
    """An archive with other words in one of its members."""
    return changed(content, part, lambda text: text.replace(old, new))


def with_dtd(dtd: str) -> Callable[[str], str]:
    """Put a DTD before XML and a reference into its texts and attributes."""

    def change(text: str) -> str:
        text = re.sub(r"<\?xml[^>]*>", "", text)
        root = re.search(r"<([\w:]+)", text)
        assert root is not None
        text = text.replace("A word", "&e;").replace("A name", "&e;")
        text = re.sub(r"(<[\w:]+ )", r'\1title="&f;" ', text, count=3)
        return f"<!DOCTYPE {root[1]} {dtd}>{text}"

    return change


# Each XML of a DOCX and an EPUB.
PARTS = [("a.docx", WORD, part) for part in WORD_PARTS]
PARTS += [("a.epub", BOOK, part) for part in BOOK_PARTS]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that no document may show."""
    path = tmp_path / "outside.txt"
    path.write_text("s3cret")
    return path


@pytest.mark.parametrize(("name", "content", "part"), PARTS)
def test_entities_of_files(
    name: str, content: bytes, part: str, secret: Path, read: Read
) -> None:
    """They are not read, in whatever XML they are declared and used."""
    url = secret.as_uri()
    for dtd in (
        f'[<!ENTITY e SYSTEM "{url}"><!ENTITY f "f">]',
        f'[<!ENTITY % p SYSTEM "{url}">%p;<!ENTITY e "e"><!ENTITY f "f">]',
        f'SYSTEM "{url}" [<!ENTITY e SYSTEM "{secret}"><!ENTITY f "f">]',
        f'PUBLIC "-//x" "{url}" [<!ENTITY e SYSTEM "/dev/zero"><!ENTITY f "f">]',
    ):
        hostile = changed(content, part, with_dtd(dtd))
        assert "s3cret" not in text_or_reason(read, name, hostile)


@pytest.mark.parametrize("name", ["a.html", "a.epub"])
def test_what_svg_and_xinclude_refer_to(name: str, secret: Path, read: Read) -> None:
    """It is not read."""
    url = secret.as_uri()
    page = (
        f'<!DOCTYPE svg [<!ENTITY e SYSTEM "{url}">]>'
        '<html xmlns:xi="http://www.w3.org/2001/XInclude"><p>A &e;</p>'
        f'<svg><text>&e;</text><image href="{url}"/></svg><object data="{url}"></object>'
        f'<iframe src="{url}"></iframe><embed src="{url}"><link rel=import href="{url}">'
        f'<xi:include href="{url}" parse="text"/><p>B</p></html>'
    )
    book = epub({"a.xhtml": ""}, more={"OPS/a.xhtml": page})
    content = page.encode() if name == "a.html" else book
    lines = read(name, content).lines

    assert lines[-1] == "B"
    assert "s3cret" not in repr(lines)


@pytest.mark.parametrize(("name", "content", "part"), PARTS)
def test_what_is_in_the_network(name: str, content: bytes, part: str, read: Read) -> None:
    """Nobody asks for it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.dtd"
        for dtd in (
            f'SYSTEM "{url}" [<!ENTITY f "f">]',
            f'[<!ENTITY % p SYSTEM "{url}">%p;<!ENTITY e SYSTEM "{url}"><!ENTITY f "f">]',
        ):
            text_or_reason(read, name, changed(content, part, with_dtd(dtd)))
        with pytest.raises(BlockingIOError):
            server.accept()


def laughs(target: str) -> str:
    """A DTD whose entity expands to a billion words."""
    words = "".join(
        f'<!ENTITY {name} "{f"&{below};" * 10}">'
        for name, below in zip("ghijklmno", "fghijklmn", strict=True)
    )
    return f'[<!ENTITY f "ha">{words}<!ENTITY e "&{target};">]'


def test_entities_that_expand(tmp_path: Path) -> None:
    """In each XML, in texts and attributes: little memory and time."""
    paths = []
    for number, (name, content, part) in enumerate(PARTS):
        path = tmp_path / f"{number}{name}"

        def change(text: str) -> str:
            return with_dtd(laughs("o"))(text).replace("&f;", "&o;")

        path.write_bytes(changed(content, part, change))
        paths.append(path)
    found, peak_bytes = read_apart(*paths)

    assert max(seconds for _, seconds in found) < SECONDS
    assert peak_bytes < PEAK_BYTES


@pytest.mark.parametrize(
    "target",
    [
        "../../../../../../{}", "/{}", "{}", "%2e%2e/%2e%2e/{}", "..%2f..%2f{}",
        "file:///{}", "file://localhost/{}", "\\\\host\\{}", "..\\..\\{}", "%00{}",
        "//host/{}",
    ],
)  # fmt: skip
def test_a_path_out_of_an_archive(target: str, secret: Path, read: Read) -> None:
    """Wherever an archive may name a file: it leads to a member, or nowhere."""
    place = target.format(str(secret).lstrip("/"))
    for name, content, part, old in (
        ("a.epub", BOOK, "META-INF/container.xml", "OPS/book.opf"),
        ("a.epub", BOOK, "OPS/book.opf", "a.xhtml"),
        ("a.epub", BOOK, "OPS/book.opf", "nav.xhtml"),
        ("a.epub", BOOK, "OPS/nav.xhtml", "a.xhtml"),
        ("a.docx", WORD, "_rels/.rels", "word/document.xml"),
        ("a.docx", WORD, "_rels/.rels", "docProps/core.xml"),
        ("a.docx", WORD, "word/_rels/document.xml.rels", "footnotes.xml"),
        ("a.docx", WORD, "word/_rels/document.xml.rels", "styles.xml"),
    ):
        hostile = replaced(content, part, old, place)
        assert "s3cret" not in text_or_reason(read, name, hostile)


@pytest.mark.parametrize("place", ["/dev/zero", "../../dev/zero", "file:///dev/stdin"])
def test_a_device_in_an_archive(place: str, read: Read) -> None:
    """It is the name of a member."""
    hostile = replaced(BOOK, "OPS/book.opf", "a.xhtml", place)

    assert text_or_reason(read, "a.epub", hostile) == "is damaged: it has no chapters"


def test_a_member_that_is_a_link(secret: Path, read: Read) -> None:
    """Its own bytes are read, which are a path."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name, text in members_of(BOOK).items():
            info = zipfile.ZipInfo(name)
            if name == "OPS/a.xhtml":
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
                text = str(secret).encode()
            file.writestr(info, text)

    assert read("a.epub", content.getvalue()).lines == (str(secret),)


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    """It is not unpacked."""
    inner = io.BytesIO()
    with (
        zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("a", "w") as member,
    ):
        for _ in range(500):
            member.write(bytes(1 << 20))
    path = tmp_path / "a.docx"
    path.write_bytes(docx(paragraph("A"), more={"word/a.zip": inner.getvalue()}))
    [(found, _)], peak_bytes = read_apart(path)

    assert found == 2
    assert peak_bytes < PEAK_BYTES


def same_bytes(count: int, nbytes: int) -> bytes:
    """An EPUB whose chapters all lie at the same place."""
    chapters = [f"{number:04}.xhtml" for number in range(count)]
    book = members_of(epub(dict.fromkeys(chapters, "")))
    for chapter in chapters[1:]:
        del book[f"OPS/{chapter}"]
    book["OPS/0000.xhtml"] = b"<p>" + b"a " * (nbytes // 2)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in book.items():
            file.writestr(name, text)
        info = file.getinfo("OPS/0000.xhtml")
        for chapter in chapters[1:]:
            other = zipfile.ZipInfo(f"OPS/{chapter}")
            for field in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(other, field, getattr(info, field))
            other.compress_type = info.compress_type
            file.filelist.append(other)
    return content.getvalue()


@pytest.mark.parametrize(
    ("count", "reason"), [(100, "is damaged: "), (600, "an archive that unpacks to over")]
)
def test_members_that_overlap(count: int, reason: str, tmp_path: Path) -> None:
    """They are refused, by the sum of their sizes or by the name at their place."""
    path = tmp_path / "a.epub"
    path.write_bytes(same_bytes(count, 1 << 20))
    [(found, _)], peak_bytes = read_apart(path)

    assert str(found).startswith(reason)
    assert peak_bytes < PEAK_BYTES


def test_members_of_one_name(read: Read) -> None:
    """The last is read, as zipfile does."""
    content = io.BytesIO(BOOK)
    with warnings.catch_warnings(), zipfile.ZipFile(content, "a") as file:
        warnings.simplefilter("ignore")
        for number in range(100):
            file.writestr("OPS/a.xhtml", f"<p>{number}")

    assert read("a.epub", content.getvalue()).lines == ("99",)


@pytest.mark.parametrize(("count", "comment"), [(20_001, b""), (2_000, b"a" * 60_000)])
def test_a_large_directory(count: int, comment: bytes, tmp_path: Path) -> None:
    """It is refused before it is held in memory."""
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(count):
            info = zipfile.ZipInfo(f"{number}")
            info.comment = comment
            file.writestr(info, b"")
    [(found, _)], peak_bytes = read_apart(path)

    assert found == "an archive of over 20,000 files"
    assert peak_bytes < 200 << 20


def test_where_a_relation_of_a_docx_leads(secret: Path, read: Read) -> None:
    """What lies outside is no part of it."""
    outside = f'<Relationship Id="z" Type="{OFFICE}/footnotes" Target="{secret.as_uri()}" '
    for mode in ("External", "Internal"):
        more = f'{outside}TargetMode="{mode}"/></Relationships>'
        part = "word/_rels/document.xml.rels"
        hostile = replaced(WORD, part, "</Relationships>", more)
        assert "s3cret" not in text_or_reason(read, "a.docx", hostile)
