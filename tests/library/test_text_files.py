from __future__ import annotations

import codecs
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gptoss_mlx.errors import UnreadableDocumentError
from gptoss_mlx.library.readers.markdown import find_headings
from gptoss_mlx.library.text import Heading, Text

Read = Callable[[str, bytes], Text]

JAPANESE = "これは日本語の文書です。\n暖房は二十度とする。\n家賃は九万円である。"
RUSSIAN = (
    "Это русский документ.\nОтопление двадцать градусов.\nАрендная плата девять тысяч."
)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", ()),
        (b"a", ("a",)),
        (b"a\n", ("a",)),
        (b"a\n\nb\n", ("a", "", "b")),
        (b"a\r\nb\rc\n", ("a", "b", "c")),
        ("a\u2028b\x0bc\n".encode(), ("a\u2028b\x0bc",)),
    ],
)
def test_the_lines_of_a_text_are_those_of_the_file(
    content: bytes, lines: tuple[str, ...], read: Read
) -> None:
    """An editor counts the same."""
    assert read("a.txt", content) == Text("a.txt", lines)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("Straße für 900 €", "utf-8"),
        ("Straße für 900 €", "utf-8-sig"),
        ("Straße für 900 €", "utf-16"),
        ("Straße für 900 €", "utf-32"),
        ("Die Straße ist größer.\nFür 900 € im Monat.", "cp1252"),
        ("Été à la plage, ça va très bien, où êtes-vous ?", "cp1252"),
        (JAPANESE, "cp932"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "iso2022_jp"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        ("这是一个中文文件。\n供暖温度为二十度。\n每月租金九百元。", "gb18030"),
    ],
)
def test_the_encoding_of_a_text(content: str, encoding: str, read: Read) -> None:
    """It is found, and a byte order mark is no part of the text."""
    ascii_first = "# plain ASCII before it\n" * 2000
    text = read("a.txt", (ascii_first + content).encode(encoding))

    assert text.lines[2000:] == tuple(content.split("\n"))


def test_utf_16_of_the_other_byte_order(read: Read) -> None:
    """It is read too."""
    content = codecs.BOM_UTF16_BE + "Größe\n".encode("utf-16-be")

    assert read("a.txt", content).lines == ("Größe",)


@pytest.mark.parametrize(
    "content",
    [b"a\0b", b"a" * (3 << 20) + b"\0", bytes(range(1, 32)) * 40, b"\xff\xfea\0\0\0b\0"],
)
def test_a_binary_file(content: bytes, read: Read) -> None:
    """It is refused, wherever its first NUL is."""
    with pytest.raises(UnreadableDocumentError) as caught:
        read("a.txt", content)

    assert caught.value.reason == "a binary file"


def test_a_character_on_the_border_of_two_chunks(read: Read) -> None:
    """It does not make UTF-8 something else."""
    lines = ["x" * 63] * ((1 << 20) // 64)
    lines[-1] += "ü"  # its first byte is the last of the chunk

    assert [*read("a.txt", "\n".join(lines).encode()).lines] == lines


def test_markdown(read: Read) -> None:
    """Its headings are found, and its lines are as they are in the file."""
    content = (
        "---\ntitle: 'My lease'\n---\n# Lease *A* #\n\nRent\n====\n"
        "```\n# no\n```\n\n    # no\n   ## `b`\n"
    )
    text = read("a.md", content.encode())

    assert text.title == "My lease"
    assert text.lines == tuple(content.splitlines())
    assert text.headings == (
        Heading(3, 1, "Lease A"),
        Heading(5, 1, "Rent"),
        Heading(12, 2, "b"),
    )


def test_the_first_heading_is_the_title_of_markdown(read: Read) -> None:
    """Unless it has none: then the file's name."""
    assert read("a.md", b"text\n\n# Lease\n").title == "Lease"
    assert read("a.md", b"text\n\n## Lease\n").title == "a.md"


MARKDOWN_LINES = st.sampled_from(
    [
        "", "", "text", "more text", "# One", "## Two ##", "#no", "###### six",
        "####### no", "===", "---", "----", "- item",
        "- # item", "> quote", "> # quote", "1. one", "```", "~~~", "```py", "```a`b",
        "````", "***", "# ", "<!-- comment", "-->", "a ---", "#\ttab",
        "## a # b", "# a\\#",
    ]
)  # fmt: skip


@given(st.lists(MARKDOWN_LINES, max_size=12))
def test_headings_of_markdown_are_those_of_commonmark(lines: list[str]) -> None:
    """markdown-it-py finds the same at the same lines, but for those without words."""
    parser = MarkdownIt("commonmark")
    parser.core.ruler.disable("inline")
    tokens = parser.parse("\n".join(lines))
    expected = [
        (token.map[0], int(token.tag[1]))
        for token, inline in pairwise(tokens)
        if token.type == "heading_open" and token.level == 0 and token.map
        if inline.content
    ]

    assert [(each.line, each.level) for each in find_headings(tuple(lines))] == expected


@pytest.mark.parametrize(
    ("name", "content", "headings"),
    [
        (
            "a.py",
            "import os\n\nclass A(B):\n    async def f(self):\n        pass\n\ndef g():\n",
            [(2, 1, "class A"), (3, 2, "async def f"), (6, 1, "def g")],
        ),
        ("a.go", "package a\nfunc (s *S) Run() {\n}\n", [(1, 1, "func (s *S) Run")]),
        ("a.rs", "impl Foo for Bar {\n    pub fn x() {}\n}\n",
         [(0, 1, "impl Foo for Bar"), (1, 2, "pub fn x")]),
        ("a.ts", "export class A {\n}\nfunction b() {}\n",
         [(0, 1, "export class A"), (2, 1, "function b")]),
        ("a.d.ts", "export declare class A {\n}\n", [(0, 1, "export declare class A")]),
        ("a.cs", "public sealed partial class A {\n}\n",
         [(0, 1, "public sealed partial class A")]),
        ("a.java", "public final class A {\n}\n", [(0, 1, "public final class A")]),
        ("a.rb", "module A\n  def b\n  end\nend\n", [(0, 1, "module A"), (1, 2, "def b")]),
        ("a.sh", "# not a heading\n", []),
    ],
)  # fmt: skip
def test_definitions_are_the_headings_of_code(
    name: str, content: str, headings: list[tuple[int, int, str]], read: Read
) -> None:
    """A method stands under its class."""
    text = read(name, content.encode())

    assert text.lines == tuple(content.splitlines())
    assert text.headings == tuple(Heading(*heading) for heading in headings)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("# Rent {#rent .unnumbered}", "Rent"),
        ("# Rent {#rent} #", "Rent {#rent}"),
        ("# Rent {: .big}", "Rent"),
        ("# Rent {-}", "Rent"),
        ("# The set {1, 2}", "The set {1, 2}"),
    ],
)
def test_the_attributes_of_a_heading(line: str, words: str, read: Read) -> None:
    """What Pandoc and others write behind it is no part of its words."""
    assert read("a.md", line.encode()).headings == (Heading(0, 1, words),)


@pytest.mark.parametrize(
    ("name", "content", "lines"),
    [
        ("a.csv", "name,rent\n\"A, B\",900\n", ("name | rent", "A, B | 900")),
        ("a.csv", "name;rent\nA;9,5\n", ("name | rent", "A | 9,5")),
        ("a.tsv", "name\trent\nA\t900\n", ("name | rent", "A | 900")),
        ("a.csv", "a,b\n\"x\n\ny\",2\n3,4\n", ("a | b", "x y | 2", "", "", "3 | 4")),
        ("a.csv", "a,b\n\n1,2\n", ("a | b", "", "1 | 2")),
        ("a.csv", "", ()),
    ],
)  # fmt: skip
def test_a_row_of_csv_is_a_line(
    name: str, content: str, lines: tuple[str, ...], read: Read
) -> None:
    """It has the number that its beginning has in the file."""
    assert read(name, content.encode()).lines == lines


def test_a_quote_that_is_never_closed(read: Read) -> None:
    """Such a CSV is read as a plain text."""
    content = 'a,b\n"' + "x\n" * 100_000

    assert read("a.csv", content.encode()).lines == tuple(content.splitlines())


def test_a_line_that_is_too_long_to_search(read: Read) -> None:
    """It is data and not text; a long text of short lines is read whole."""
    with pytest.raises(UnreadableDocumentError, match="over two million characters"):
        read("data.json", b"[" + b"1," * 1_000_001)

    lines = read("log.txt", b"a line\r\n" * 600_000).lines
    assert (len(lines), lines[599_999]) == (600_000, "a line")


def test_a_long_table(read: Read) -> None:
    """Its rows are as those of a short one."""
    rows = b'a,"b\nc"\n' * 600_000

    lines = read("table.csv", rows).lines

    assert (len(lines), lines[0], lines[1], lines[-2]) == (
        1_200_000,
        "a | b c",
        "",
        "a | b c",
    )
