from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_mlx.library.lines import Block, PackedLines, pack, packed

LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))


@given(st.lists(LINE | st.just("x" * 9_000)), st.data())
def test_packed_lines_are_the_lines(lines: list[str], data: st.DataObject) -> None:
    """In order, by index in any order, and in slices."""
    found = pack(iter(lines))

    assert (list(found), len(found)) == (lines, len(lines))
    assert found == tuple(lines)
    assert found != (*lines, "")
    for index in data.draw(st.permutations(range(-len(lines), len(lines)))):
        assert found[index] == lines[index]
    begin, end = data.draw(st.tuples(st.integers(-5, 9), st.none() | st.integers(-5, 9)))
    assert found[begin:end] == tuple(lines[begin:end])
    for index in (len(lines), -len(lines) - 1):
        with pytest.raises(IndexError):
            found[index]


def test_lines_of_no_block_are_empty() -> None:
    """Before, between and after those there are."""
    blocks = [Block(1, packed("a\nb")), Block(5, packed("c"))]
    lines = PackedLines(7, blocks)

    assert list(lines) == ["", "a", "b", "", "", "c", ""]
    assert [lines[index] for index in (6, 5, 4, 3, 2, 1, 0)] == list(lines)[::-1]
