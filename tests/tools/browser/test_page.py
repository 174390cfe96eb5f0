from __future__ import annotations

import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_mlx.tools.browser.page import WIDTH, Page, plain, wrap

many = settings(max_examples=500, deadline=None, database=None)
pieces = st.sampled_from(
    (
        *("a", "b1", "-", "--", " ", "  ", "\t", ",", "!", "'", "漢字", "é", "well-known"),
        *("\r", "\x0b", "\x0c", "\u00a0", "\u2028"),
        *("x" * 79, "x" * 80, "x" * 81, "-" * 80),
    )
)
texts = st.lists(pieces | st.text(st.characters(exclude_characters="\n")), max_size=60)


def page(text: str) -> Page:
    """A page that holds a text."""
    return Page("a.txt", "A", text)


@many
@given(texts)
def test_lines_are_cut_as_textwrap_cuts_them(words: list[str]) -> None:
    """With the options of gpt-oss's browser; an empty line stays."""
    line = "".join(words)
    expected = textwrap.wrap(
        line, width=WIDTH, replace_whitespace=False, drop_whitespace=False
    )

    assert list(wrap(line)) == (expected or [""])
    assert page(line).lines == (expected or [""])


@many
@given(st.lists(texts.map("".join), min_size=1, max_size=8))
def test_each_display_line_knows_its_line(lines: list[str]) -> None:
    """The display lines of a line, put together, are the line; its first one is known."""
    wrapped = page("\n".join(lines))
    pieces: dict[int, list[str]] = {}
    for display_line, piece in enumerate(wrapped.lines):
        pieces.setdefault(wrapped.source_line(display_line), []).append(piece)

    assert {n: "".join(found) for n, found in pieces.items()} == {
        n: line.expandtabs() for n, line in enumerate(lines, start=1)
    }
    for n in pieces:
        first = wrapped.display_line(n)
        assert wrapped.source_line(first) == n
        assert first == 0 or wrapped.source_line(first - 1) == n - 1


def test_a_line_that_is_not_there_is_an_index_error() -> None:
    """Even one before the first: negative numbers do not count from the end."""
    two = page("a\nb")
    for line in (-1, 2):
        with pytest.raises(IndexError, match=f"no display line {line}"):
            two.source_line(line)
    for line in (0, 3):
        with pytest.raises(IndexError, match=f"no line {line}"):
            two.display_line(line)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("\n".join(f"line {n} of a long text" for n in range(50_000)), 0.5),
        ("x" * 3_000_000, 3.0),
        ("漢" * 3_000_000, 3.0),
        ("-" * 1_000_000, 3.0),
        ("a-" * 1_000_000, 5.0),
    ],
    ids=["50,000 lines", "one word", "one word of ideographs", "hyphens", "parts"],
)
def test_a_long_page_is_wrapped_in_time(text: str, seconds: float) -> None:
    """Time grows with the length; textwrap alone takes minutes for a long word."""
    began = time.perf_counter()
    lines = page(text).lines

    assert time.perf_counter() - began < seconds
    assert max(map(len, lines)) <= WIDTH


def test_a_text_cannot_pretend_to_be_a_link() -> None:
    """The brackets become others, and a space without width goes."""
    assert plain("【0†here】 is\u200b not 【1†L3】") == "〖0†here〗 is not 〖1†L3〗"
