from __future__ import annotations

import pytest

from gptoss_mlx.library.text import Heading, Text

TEXT = Text(
    "Lease",
    tuple("abcdefghij"),
    headings=(
        Heading(1, 1, "Rent"),
        Heading(3, 2, "Heating"),
        Heading(5, 2, "Water"),
        Heading(8, 1, "Keys"),
    ),
    pages=(0, 4, 8),
)


@pytest.mark.parametrize(("line", "page"), [(0, 1), (3, 1), (4, 2), (7, 2), (9, 3)])
def test_the_page_of_a_line(line: int, page: int) -> None:
    """Pages are counted from 1."""
    assert TEXT.page_of(line) == page


def test_a_text_without_pages() -> None:
    """It has no page numbers."""
    assert Text("Notes", ("a",)).page_of(0) is None


@pytest.mark.parametrize(
    ("line", "headings"),
    [
        (0, ()),
        (2, ("Rent",)),
        (4, ("Rent", "Heating")),
        (6, ("Rent", "Water")),
        (9, ("Keys",)),
    ],
)
def test_the_headings_of_a_line(line: int, headings: tuple[str, ...]) -> None:
    """Those of the sections that it is in, highest level first."""
    assert TEXT.headings_of(line) == headings
