"""No damaged or hostile document may crash its reader, hang it or fill the memory."""

from __future__ import annotations

import contextlib
import io
import random
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from document_archive import FORMATS, documents
from read_apart import PEAK_BYTES, SECONDS, read_apart
from small_documents import (
    DOCUMENTS,
    W,
    archive,
    docx,
    epub,
    members_of,
    paragraph,
    pdf,
)  # fmt: skip

from gptoss_mlx.errors import UnreadableDocumentError
from gptoss_mlx.library.readers import pdf as pdf_reader
from gptoss_mlx.library.readers.source import Source
from gptoss_mlx.library.reading import read_document


def damaged(content: bytes, seed: int) -> bytes:
    """Cut a file, flip bits of it, or overwrite, repeat or move a part of it."""
    chance = random.Random(seed)
    data = bytearray(content)
    place = chance.randrange(len(data))
    length = chance.randrange(1, 200)
    match seed % 5:
        case 0:
            del data[place:]
        case 1:
            for _ in range(chance.randrange(1, 20)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 2:
            data[place : place + length] = chance.randbytes(length)
        case 3:
            data[place:place] = data[place : place + length] * chance.randrange(1, 50)
        case 4:
            del data[place : place + length]
    return bytes(data)


def check_damaged(name: str, seeds: range, folder: Path) -> None:
    """Read a document after each damage: it has a text, or a reason for none."""
    path = folder / name
    for seed in seeds:
        path.write_bytes(damaged(DOCUMENTS[name], seed))
        began = time.perf_counter()
        with contextlib.suppress(UnreadableDocumentError):
            text = read_document(path)
            "\n".join((text.title, *text.lines)).encode()
            assert all(0 <= heading.line < len(text.lines) for heading in text.headings)
        assert time.perf_counter() - began < SECONDS, seed


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_damaged_document(name: str, tmp_path: Path) -> None:
    """It is read, or skipped with a reason."""
    check_damaged(name, range(5), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_many_damaged_documents(name: str, tmp_path: Path) -> None:
    """They are read, or skipped with a reason."""
    check_damaged(name, range(5, 100), tmp_path)


@pytest.mark.parametrize("name", ["a.docx", "a.epub"])
def test_a_damaged_member(name: str, tmp_path: Path) -> None:
    """The XML within an archive that is itself in order."""
    members = members_of(DOCUMENTS[name])
    path = tmp_path / name
    for seed, member in enumerate(members):
        path.write_bytes(archive(members | {member: damaged(members[member], seed)}))
        with contextlib.suppress(UnreadableDocumentError):
            read_document(path)


def of_other_programs(name: str) -> list[tuple[str, bytes]]:
    """Twenty documents of a format, each with a damage, and the suffix to read it by."""
    chance = random.Random(name)
    suffixes = [Path(each[0].name).suffix for each in documents().values()]
    found = []
    for seed, document in enumerate(documents()[name][:20]):
        suffix = Path(document.name).suffix
        content = document.content
        if seed % 7 == 5 and suffix in (".docx", ".epub"):
            members = members_of(content)
            names = list(members)
            chance.shuffle(names)
            content = archive(dict(zip(names, members.values(), strict=True)))
        elif seed % 7 == 6:
            suffix = chance.choice([each for each in suffixes if each != suffix])
        else:
            content = damaged(content, seed)
        found.append((suffix, content))
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_documents_of_other_programs(name: str, tmp_path: Path) -> None:
    """They are read, or skipped with a reason, in little memory and time."""
    paths = []
    for number, (suffix, content) in enumerate(of_other_programs(name)):
        paths.append(tmp_path / f"{number}{suffix}")
        paths[-1].write_bytes(content)
    found, peak_bytes = read_apart(*paths)

    assert len(found) == 20
    assert all(isinstance(result, int) or len(result) > 5 for result, _ in found)
    assert max(seconds for _, seconds in found) < SECONDS
    assert peak_bytes < PEAK_BYTES


def lying_docx() -> bytes:
    """A member of 200 MB that the archive's directory states to have 1,000 bytes."""
    nbytes = 200 << 20
    content = docx("", more={"word/document.xml": bytes(nbytes)})
    return content.replace(nbytes.to_bytes(4, "little"), (1000).to_bytes(4, "little"))


def bzip2_docx() -> bytes:
    """A member whose compression zipfile undoes in one step."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("[Content_Types].xml", bytes(100 << 20))
    return content.getvalue()


def entities(text: str) -> str:
    """XML whose entities expand to a billion words."""
    words = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE x [<!ENTITY e0 "ha">{words}]>{text.replace("ENTITY", "&e9;")}'


def page_of_stream(stream: bytes) -> bytes:
    """A PDF whose only page has this compressed content."""
    content = pdf([["MARK"]])
    start, end = content.index(b"<< /Length"), content.index(b"\nendstream")
    head = b"<< /Length %d /Filter /FlateDecode >>\nstream\n" % len(stream)
    return content[:start] + head + stream + content[end:]


def inflating_to(nbytes: int) -> bytes:
    """Spaces, compressed."""
    compress = zlib.compressobj(1)
    return b"".join(compress.compress(b" " * 10**7) for _ in range(nbytes // 10**7)) + (
        compress.flush()
    )


DOCUMENT = f'<w:document xmlns:w="{W}"><w:body>{paragraph("ENTITY")}</w:body></w:document>'
STYLE = '<w:style w:styleId="s{}"><w:name w:val="n"/><w:basedOn w:val="s{}"/></w:style>'
STYLES = "".join(STYLE.format(n, (n + 1) % 2000) for n in range(2000))
STYLES = f'<w:styles xmlns:w="{W}">{STYLES}</w:styles>'

# What is made, and its reason or the count of its lines; None: either will do.
HOSTILE: dict[str, tuple[str, Callable[[], bytes], str | int | None]] = {
    "inflates": (
        "a.docx",
        lambda: docx("", more={"word/document.xml": bytes(100 << 20)}),
        "word/document.xml in it is over 32 MB",
    ),
    "inflates in all": (
        "a.epub",
        lambda: epub({}, more={f"OPS/{n}": bytes(30 << 20) for n in range(18)}),
        "an archive that unpacks to over 512 MB",
    ),
    "inflates in XML": (
        "a.docx",
        lambda: docx("", more={f"word/{n}.xml": bytes(30 << 20) for n in range(3)}),
        "over 64 MB of text",
    ),
    "states another size": (
        "a.docx",
        lying_docx,
        "is damaged: Bad CRC-32 for file 'word/document.xml'",
    ),
    "bzip2": ("a.docx", bzip2_docx, "is damaged: it is compressed in an unusual way"),
    "entities of DOCX": (
        "a.docx",
        lambda: docx("", more={"word/document.xml": entities(DOCUMENT)}),
        None,
    ),
    "entities of EPUB": (
        "a.epub",
        lambda: epub({"a.xhtml": ""}, more={"OPS/a.xhtml": entities("<p>ENTITY</p>")}),
        None,
    ),
    "entities of HTML": ("a.html", lambda: entities("<p>ENTITY</p>").encode(), None),
    "deep XML": ("a.docx", lambda: docx("<w:sdt>" * 100_000), None),
    "styles in a circle": (
        "a.docx",
        lambda: docx("", more={"word/styles.xml": STYLES}),
        1,
    ),
    "deep HTML": ("a.html", lambda: b"<div>" * 200_000 + b"x", 1),
    "a tag of many attributes": (
        "a.html",
        lambda: b"<p %s>x" % b" ".join(b"a%d=1" % n for n in range(200_000)),
        1,
    ),
    "50,000 blocks": ("a.html", lambda: b"<p>a</p>\n" * 50_000, 50_000),
    "one block": ("a.html", lambda: b"<p>" + b"a " * 5_000_000, 1),
    "open tags": ("a.html", lambda: b"<" * 500_000, None),
    "50,000 lines": ("a.md", lambda: b"# a\n" * 50_000, 50_000),
    "a heading of one line": ("a.md", lambda: b"# " + b"*[_ " * 200_000, 1),
    "a long paragraph": ("a.md", lambda: b"a\n" * 300_000 + b"===\n", 300_001),
    "one line": ("a.txt", lambda: b"a" * (100 << 20), None),
    "one row": ("a.csv", lambda: b"a," * 5_000_000, None),
    "one line of code": ("a.py", lambda: b"def a" * 5_000_000, None),
    "nested mail": (
        "a.eml",
        lambda: b"".join(
            b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n)
            for n in range(1_000)
        ),
        "is damaged: it is nested too deeply",
    ),
    "mail in many parts": (
        "a.eml",
        lambda: b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 60_000,
        "a mail of over 50,000 parts",
    ),
    "a page that inflates": (
        "a.pdf",
        lambda: page_of_stream(inflating_to(11 * 10**8)),
        None,
    ),
    "a thousand million pages": (
        "a.pdf",
        lambda: pdf([["a"]]).replace(b"/Count 1", b"/Count 1000000000"),
        1,
    ),
    "pages in a circle": (
        "a.pdf",
        lambda: pdf([["a"]]).replace(b"/Kids [5 0 R]", b"/Kids [2 0 R]"),
        None,
    ),
    "an outline in a circle": (
        "a.pdf",
        lambda: pdf([["a"]], outline=[("b", 0), ("c", 0)]).replace(
            b"/Next 9 0 R", b"/Next 8 0 R"
        ),
        1,
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_document(case: str, tmp_path: Path) -> None:
    """It takes little memory and time, whatever comes of it."""
    name, make, expected = HOSTILE[case]
    path = tmp_path / name
    path.write_bytes(make())
    [(found, _)], peak_bytes = read_apart(path)

    assert expected in (None, found)
    assert peak_bytes < PEAK_BYTES


def test_a_pdf_that_takes_too_long(tmp_path: Path) -> None:
    """Its reader is ended."""
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf([["a"]]))
    with path.open("rb") as file, pytest.raises(UnreadableDocumentError) as caught:
        pdf_reader.read_pdf(Source(path, file, path.stat().st_size), timeout_s=0.001)

    assert caught.value.reason == "takes over 0.001 s to read"


def test_a_pdf_whose_reader_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is the document's fault, and this process goes on."""
    program = tmp_path / "crash.py"
    program.write_text("import os; os.abort()")
    monkeypatch.setattr(pdf_reader, "_PROGRAM", program)
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf([["a"]]))

    with pytest.raises(UnreadableDocumentError) as caught:
        read_document(path)

    assert caught.value.reason == "is damaged: the PDF reader stopped"
