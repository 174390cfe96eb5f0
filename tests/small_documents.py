"""Small documents of each kind, written by hand: not by the packages that read them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

__all__ = [
    "DOCUMENTS", "MAIL", "OFFICE", "PACKAGE", "W", "archive", "docx", "epub", "members_of",
    "paragraph", "pdf",
]  # fmt: skip

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def pdf(
    pages: Sequence[Sequence[str]],
    *,
    title: str = "",
    outline: Sequence[tuple[str, int]] = (),
    encrypted: bool = False,
) -> bytes:
    """Write a PDF.

    Args:
        pages: The lines of each page.
        title: In its metadata.
        outline: Names and the indices of the pages that they lead to.
        encrypted: Whether it claims to need a password.
    """
    first = 4  # after catalog, page tree, font and information
    kids = " ".join(f"{first + 1 + 2 * index} 0 R" for index in range(len(pages)))
    entries = first + 1 + 2 * len(pages)
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R /Outlines {entries} 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        f"<< /Title ({title}) >>",
    ]
    for index, lines in enumerate(pages):
        shown = "".join(f"({line}) Tj 0 -20 Td " for line in lines)
        stream = f"BT /F1 12 Tf 72 700 Td {shown}ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents "
            f"{first + 2 + 2 * index} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    ends = f"/First {entries + 1} 0 R /Last {entries + len(outline)} 0 R" if outline else ""
    objects.append(f"<< /Type /Outlines /Count {len(outline)} {ends} >>")
    for index, (name, page) in enumerate(outline):
        after = f"/Next {entries + index + 2} 0 R" if index + 1 < len(outline) else ""
        objects.append(
            f"<< /Title ({name}) /Parent {entries} 0 R {after} "
            f"/Dest [{first + 1 + 2 * page} 0 R /Fit] >>"
        )
    content = bytearray(b"%PDF-1.4\n")
    places = []
    for number, text in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{text}\nendobj\n".encode("cp1252")
    table = len(content)
    content += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    content += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    key = "0" * 64
    lock = (
        f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{key}> /U <{key}> /P -4 >> "
        f"/ID [<{key[:32]}> <{key[:32]}>]"
    )
    content += (
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info 4 0 R "
        f"{lock if encrypted else ''} >>\nstartxref\n{table}\n%%EOF\n"
    ).encode()
    return bytes(content)


def archive(members: Mapping[str, str | bytes] | Mapping[str, bytes]) -> bytes:
    """Write a ZIP archive, its members in order."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            # EPUB asks for a mimetype that is found without inflating.
            file.writestr(name, text, zipfile.ZIP_STORED if name == "mimetype" else None)
    return content.getvalue()


def members_of(content: bytes) -> dict[str, bytes]:
    """Return the members of a ZIP archive, by name."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def paragraph(text: str, style: str = "") -> str:
    """Write a paragraph of WordprocessingML."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def docx(
    body: str, *, title: str = "", more: Mapping[str, str | bytes] | None = None
) -> bytes:
    """Write a DOCX with the styles of a German Word.

    Args:
        body: WordprocessingML.
        title: In its properties.
        more: Members to add or to replace.
    """
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    kinds = {
        "/word/document.xml": f"{word}.document.main+xml",
        "/word/styles.xml": f"{word}.styles+xml",
        "/word/footnotes.xml": f"{word}.footnotes+xml",
        "/docProps/core.xml": "application/vnd.openxmlformats-package.core-properties+xml",
    }
    overrides = "".join(
        f'<Override PartName="{name}" ContentType="{kind}"/>'
        for name, kind in kinds.items()
    )
    rels = "application/vnd.openxmlformats-package.relationships+xml"
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{style}"><w:name w:val="{name}"/>{base}'
        "</w:style>"
        for style, name, base in (
            ("Titel", "Title", ""),
            ("berschrift1", "heading 1", ""),
            ("berschrift2", "heading 2", ""),
            ("Abschnitt", "Abschnitt", '<w:basedOn w:val="berschrift2"/>'),
        )
    )
    members: dict[str, str | bytes] = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default '
        f'Extension="rels" ContentType="{rels}"/>{overrides}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="a" Type="{OFFICE}/officeDocument" Target="word/document.xml"/>'
        f'<Relationship Id="b" Type="{PACKAGE}/relationships/metadata/core-properties" '
        'Target="docProps/core.xml"/></Relationships>',
        "word/_rels/document.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="a" Type="{OFFICE}/styles" Target="styles.xml"/>'
        f'<Relationship Id="b" Type="{OFFICE}/footnotes" Target="footnotes.xml"/>'
        "</Relationships>",
        "word/document.xml": f'<w:document xmlns:w="{W}"><w:body>{body}</w:body>'
        "</w:document>",
        "word/styles.xml": f'<w:styles xmlns:w="{W}">{styles}</w:styles>',
        "word/footnotes.xml": f'<w:footnotes xmlns:w="{W}"><w:footnote w:id="1">'
        f"{paragraph('See the annex.')}</w:footnote></w:footnotes>",
        "docProps/core.xml": f'<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-'
        f'properties" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}'
        "</dc:title></cp:coreProperties>",
    }
    return archive(members | dict(more or {}))


def epub(
    chapters: Mapping[str, str],
    *,
    title: str = "A book",
    contents: Mapping[str, str] | None = None,
    more: Mapping[str, str | bytes] | None = None,
) -> bytes:
    """Write an EPUB 3.

    Args:
        chapters: The body of each, by its link from the list of files.
        title: Of the book.
        contents: The names of chapters in the table of contents, by link.
        more: Members to add or to replace.
    """
    items = "".join(
        f'<item id="c{index}" href="{href}" media-type="application/xhtml+xml"/>'
        for index, href in enumerate(chapters)
    )
    spine = "".join(f'<itemref idref="c{index}"/>' for index in range(len(chapters)))
    links = "".join(
        f'<li><a href="{href}">{name}</a></li>' for href, name in (contents or {}).items()
    )
    xhtml = 'xmlns="http://www.w3.org/1999/xhtml"'
    members: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:'
        'container"><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles>'
        "</container>",
        "OPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf"><metadata '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title>'
        '</metadata><manifest><item id="nav" href="nav.xhtml" properties="nav" '
        f'media-type="application/xhtml+xml"/>{items}</manifest><spine>{spine}</spine>'
        "</package>",
        "OPS/nav.xhtml": f"<html {xhtml}><body><nav><ol>{links}</ol></nav></body></html>",
    }
    for href, body in chapters.items():
        members[f"OPS/{href}"] = (
            f'<?xml version="1.0" encoding="utf-8"?><html {xhtml}><head><title>x</title>'
            f"</head><body>{body}</body></html>"
        )
    return archive(members | dict(more or {}))


MAIL = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <j@example.com>\r\nTo: a@example.com\r\n"
    b"Date: Mon, 2 Mar 2026 10:00:00 +0100\r\nSubject: Heating\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
    b"Content-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\nF=FCr 20 Grad.\r\n\r\nGru=DF\r\n"
    b"--b\r\nContent-Type: application/pdf\r\n"
    b'Content-Disposition: attachment; filename="lease.pdf"\r\n\r\nx\r\n--b--\r\n'
)

DOCUMENTS: dict[str, bytes] = {
    "a.txt": "Rent\r\nHeizung für 900 €\n".encode() * 20,
    "a.md": b"# Lease\n\nText.\n\n## Rent\n\n900\n" * 10,
    "a.py": b"class A:\n    def b(self):\n        pass\n" * 10,
    "a.html": b"<title>Lease</title><h1>Rent</h1><p>900<table><tr><td>a<td>b</table>" * 10,
    "a.csv": b'name,rent\n"A, B",900\n' * 20,
    "a.eml": MAIL,
    "a.pdf": pdf([["Rent", "900 euros"], ["Heating"]], title="T", outline=[("Heating", 1)]),
    "a.docx": docx(paragraph("Rent", "berschrift1") + paragraph("900") * 20, title="Lease"),
    "a.epub": epub({"1.xhtml": "<h1>One</h1><p>Text</p>", "2.xhtml": "<p>Text</p>"}),
}
"""One of each kind, by its file's name."""
