from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptoss_mlx.library.passages import MAX_WORDS, passages
from gptoss_mlx.library.text import Heading, Text

LINES = st.lists(
    st.sampled_from(["", "  ", "one", "two words", "word " * 150, "日本語" * 90])
)


@given(lines=LINES, data=st.data())
def test_passages_of_any_text(lines: list[str], data: st.DataObject) -> None:
    """They hold each line that is not empty once, in order, and at most 400 words."""
    headings = sorted(data.draw(st.sets(st.integers(0, max(len(lines) - 1, 0)))))
    text = Text("", tuple(lines), tuple(Heading(line, 1, str(line)) for line in headings))

    found = list(passages(text))

    held = [n for each in found for n in range(each.first_line, each.last_line + 1)]
    assert held == sorted(set(held))
    assert {n for n, line in enumerate(lines) if line.strip()} <= set(held)
    for each in found:
        assert each.text == "\n".join(lines[each.first_line : each.last_line + 1])
        assert each.headings == text.headings_of(each.first_line)
        assert len(each.text.split()) <= MAX_WORDS


def test_a_cut_is_made_before_a_heading() -> None:
    """A section that begins within reach begins a passage."""
    lines = ("word " * 100, "", "word " * 120, "", "Keys", "word " * 50, "", "word " * 200)
    text = Text("Lease", lines, (Heading(4, 1, "Keys"),), pages=(0, 4))

    first, second = passages(text)

    assert (first.first_line, first.last_line, first.page) == (0, 2, 1)
    assert (second.first_line, second.last_line, second.page) == (4, 7, 2)
    assert second.headings == ("Keys",)


def test_a_cut_is_made_between_paragraphs() -> None:
    """Without headings, a passage ends where a paragraph does."""
    text = Text("", ("word " * 150, "word " * 100, "", "word " * 120, "word " * 90))

    assert [each.first_line for each in passages(text)] == [0, 3]


def test_a_line_longer_than_a_passage() -> None:
    """It is a passage of its own."""
    text = Text("", ("a", "word " * 5000, "b"))

    assert any(each.first_line <= 1 <= each.last_line for each in passages(text))
