from __future__ import annotations

from collections.abc import Callable

import pytest
from small_documents import MAIL, docx, epub, paragraph, pdf

from gptoss_mlx.library.text import Heading, Text

Read = Callable[[str, bytes], Text]

PAGE = """<!DOCTYPE html><html><head><title>My
lease</title><style>p{}</style></head><body>
<nav><a href="/">Home</a></nav><div role="navigation">Menu</div>
<h1>Rent<br>and heating</h1><p>It is <b>900</b>&nbsp;euros.<br>Or 950.</p>
<!-- no --><script>no()</script>after<p hidden>no</p>
<ul><li>One<li>Two <i>and</i> half</ul>
<h2>Table</h2>
<table><tr><th>Name<th>Rent<tr><td><p>A</p><td>900</table>
<pre>if x:
    y()

z</pre></body></html>"""


def test_html(read: Read) -> None:
    """A block is a line; scripts, navigation and what is hidden are left out."""
    assert read("a.html", PAGE.encode()) == Text(
        "My lease",
        (
            "Rent and heating", "It is 900 euros.", "Or 950.", "after", "One",
            "Two and half", "Table", "Name | Rent", "A | 900", "if x:", "    y()", "z",
        ),
        (Heading(0, 1, "Rent and heating"), Heading(6, 2, "Table")),
    )  # fmt: skip


def test_elements_without_an_end(read: Read) -> None:
    """What follows them is read, even if they are hidden."""
    page = b"<p>a<embed src=x>b<input hidden>c<img hidden>d<wbr hidden>e<br hidden>f"

    assert "".join(read("a.html", page).lines) == "abcdef"


def test_the_sign_behind_a_heading(read: Read) -> None:
    """A link of a heading to itself is no word of it."""
    page = '<h1>Rent<a class="headerlink small" href="#rent">¶</a></h1><h2>C#</h2>'

    assert [each.text for each in read("a.html", page.encode()).headings] == ["Rent", "C#"]


def test_a_page_that_is_laid_out_in_a_table(read: Read) -> None:
    """It has as many lines as without."""
    body = "<h1>One</h1><p>Two<p>Three"
    text = read("a.html", f"<table><tr><td>{body}<td>Four</table>".encode())

    assert text.lines == ("One", "Two", "Three", "Four")


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        ("", "utf-8"),
        ("", "utf-16"),
        ('<meta charset="iso-8859-1">', "cp1252"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=cp1251">', "cp1251"),
        ('<?xml version="1.0" encoding="cp1251"?>', "cp1251"),
        ('<meta charset="cp1251">', "utf-8"),
        ('<meta charset="zlib">', "cp1252"),
        ('<meta charset="\N{LATIN SMALL LETTER U WITH DIAERESIS}">', "cp1252"),
    ],
)
def test_the_encoding_of_html(head: str, encoding: str, read: Read) -> None:
    """That which it states, unless its bytes are UTF-8."""
    word = "Привет" if encoding == "cp1251" else "größer"
    content = f"{head}<p>{word} als die Miete".encode(encoding)

    assert read("a.html", content).lines == (f"{word} als die Miete",)


@pytest.mark.parametrize(
    "content", [b"", b"<!-- -->", b"<script>x</script>", b"<nav>a</nav>"]
)
def test_html_without_text(content: bytes, read: Read) -> None:
    """It has no lines, and the file's name is its title."""
    assert read("a.html", content) == Text("a.html", ())


def test_a_pdf(read: Read) -> None:
    """Its lines have pages, and its outline names its headings."""
    pages = [["Contents"], ["1 Rent", "900 euros"], [], ["2 Heating", "20 degrees"]]
    content = pdf(pages, title="My lease", outline=[("1 Rent", 1), ("Heating", 3)])
    text = read("a.pdf", content)

    assert text == Text(
        "My lease",
        ("Contents", "1 Rent", "900 euros", "2 Heating", "20 degrees"),
        (Heading(1, 1, "1 Rent"), Heading(3, 1, "Heating")),
        (0, 1, 3, 3),
    )
    assert [text.page_of(line) for line in range(5)] == [1, 2, 2, 4, 4]


def test_a_word_that_the_end_of_a_line_cuts(read: Read) -> None:
    """In a PDF it is one word; a hyphen after a number stays."""
    content = pdf([["in die Woh-", "nung seit 2020-", "2021"]])

    assert read("a.pdf", content).lines == ("in die Wohnung seit 2020-", "2021")


def test_a_pdf_by_its_content(read: Read) -> None:
    """Whatever its name is, and without a title."""
    assert read("lease", pdf([["Rent"]])) == Text("lease", ("Rent",), pages=(0,))


def test_a_docx(read: Read) -> None:
    """Headings by style, tables by row, and what python-docx alone leaves out."""
    cell = "<w:tc>{}</w:tc>"
    row = cell.format(paragraph("Name")) + cell.format(paragraph("A") + paragraph("B"))
    body = (
        paragraph("Lease", "Titel")
        + paragraph("Rent", "berschrift1")
        + "<w:p><w:r><w:t>It is </w:t><w:tab/><w:t>900</w:t></w:r>"
        "<w:del><w:r><w:delText>no</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t> euros</w:t></w:r></w:ins></w:p>"
        + paragraph("")
        + f"<w:sdt><w:sdtContent>{paragraph('In a form')}</w:sdtContent></w:sdt>"
        + f"<w:tbl><w:tr>{row}</w:tr></w:tbl>"
        + paragraph("Heating", "Abschnitt")
        + '<w:p><w:pPr><w:outlineLvl w:val="2"/></w:pPr><w:r><w:t>Deep</w:t></w:r></w:p>'
    )

    assert read("a.docx", docx(body)) == Text(
        "Lease",
        (
            "Lease", "Rent", "It is 900 euros", "In a form", "Name | A B", "Heating",
            "Deep", "See the annex.",
        ),
        (
            Heading(0, 1, "Lease"),
            Heading(1, 1, "Rent"),
            Heading(5, 2, "Heating"),
            Heading(6, 3, "Deep"),
        ),
    )  # fmt: skip


def test_the_title_of_a_docx(read: Read) -> None:
    """That of its properties comes first, and the file's name last."""
    assert read("a.docx", docx(paragraph("Rent"), title="My  lease")).title == "My lease"
    assert read("a.docx", docx(paragraph("Rent"))).title == "a.docx"


def test_a_text_box_of_a_docx(read: Read) -> None:
    """Its text is a line of its own, once."""
    box = f"<w:txbxContent>{paragraph('In a box')}</w:txbxContent>"
    body = (
        '<w:p xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><w:r>'
        f"<w:t>Outside</w:t><mc:AlternateContent><mc:Choice>{box}</mc:Choice>"
        f"<mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )

    assert read("a.docx", docx(body)).lines[:-1] == ("In a box", "Outside")


def test_an_epub(read: Read) -> None:
    """Chapters in reading order; one without headings has its name in the contents."""
    content = epub(
        {"z.xhtml": "<h2>First</h2><p>Größe &amp; more</p>", "text/2%20b.xhtml": ""},
        contents={"text/2%20b.xhtml#top": "Part two", "z.xhtml": "Part one"},
        more={"OPS/text/2 b.xhtml": "<html><body><p>Second</p></body></html>"},
    )

    assert read("a.epub", content) == Text(
        "A book",
        ("First", "Größe & more", "Second"),
        (Heading(0, 2, "First"), Heading(2, 1, "Part two")),
    )
    assert read("book", content).title == "A book"


def test_mail(read: Read) -> None:
    """The subject is the title; who wrote, to whom and when come before the text."""
    assert read("a.eml", MAIL) == Text(
        "Heating",
        (
            "From: Jürgen <j@example.com>", "To: a@example.com",
            "Date: Mon, 02 Mar 2026 10:00:00 +0100", "Subject: Heating",
            "Attachment: lease.pdf", "", "Für 20 Grad.", "", "Gruß",
        ),
    )  # fmt: skip


def test_a_long_subject(read: Read) -> None:
    """Its encoded words are joined, though they are on two lines."""
    content = (
        b"Subject: =?utf-8?q?Vermieteri?=\r\n =?utf-8?q?n_schreibt?=\r\n again\r\n\r\na"
    )

    assert read("a.eml", content).title == "Vermieterin schreibt again"


def test_mail_in_iso_2022_jp(read: Read) -> None:
    """Its bytes are ASCII, and its text is not."""
    head = b"Subject: A\nContent-Type: text/plain; charset=iso-2022-jp\n\n"

    assert read("a.eml", head + "契約書".encode("iso2022_jp")).lines[-1] == "契約書"


def test_mail_in_html(read: Read) -> None:
    """It is read as a page of the character set that the mail states."""
    content = b"Subject: A\nContent-Type: text/html; charset=cp1251\n\n<p>\xcf\xf0\xe8<p>b"

    assert read("a.eml", content) == Text("A", ("Subject: A", "", "При", "b"))


@pytest.mark.parametrize(
    "header",
    [
        b"From: =?unknown?q?x?= <",
        b"From: \xff\xfe <a@b>",
        b"Date: yesterday",
        b"Content-Type: text/plain; charset=nothing",
        b"Content-Type: multipart/mixed",
        b"Content-Transfer-Encoding: base64",
        b"To: " + b"(" * 100_000,
        b"To: " + b"<a@b>, " * 50_000,
        b"Subject: " + b"=?utf-8?q?a?= " * 50_000,
    ],
)
def test_malformed_mail(header: bytes, read: Read) -> None:
    """It is read as well as it can be, and at once."""
    text = read("a.eml", header + b"\nSubject: A\n\nHello there\n")

    "\n".join((text.title, *text.lines)).encode()
