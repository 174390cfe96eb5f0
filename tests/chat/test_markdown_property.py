"""Whatever a model writes is seen, whole and in order, at any width and in any pieces."""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter

import pytest
from evidence import Note
from hostile import raw_controls
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_strategies import Written, documents, soups
from rich.console import Console

from gptoss_mlx.chat import screen as screens
from gptoss_mlx.chat.blocks import BlockStream
from gptoss_mlx.chat.markdown import AnswerMarkdown
from gptoss_mlx.chat.markdown_parser import whole_blocks
from gptoss_mlx.chat.screen import Screen
from gptoss_mlx.controls import without_controls

WIDTHS = (20, 80, 140)
QUICK, LONG = 200, 2_000


def streamed(text: str, cuts: list[int], width: int) -> str:
    """Push a text, cut at these places, and return what is printed for good."""
    out = io.StringIO()
    with Screen(Console(file=out, width=width, markup=False)) as screen:
        stream = BlockStream(screen, render=AnswerMarkdown, whole=whole_blocks)
        for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            stream.push(without_controls(text[begin:end]))
        stream.finish()
    return out.getvalue()


@pytest.fixture(autouse=True, scope="module")
def eager() -> object:
    """Make every piece be looked at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screens, "REFRESH_S", 0)
        patch.setattr(screens, "REST_PER_DRAW", 0)
        yield


def places(data: st.DataObject, text: str) -> list[int]:
    """Draw where a text is cut."""
    drawn = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    return sorted(drawn)


def visible(text: str) -> str:
    """Leave out white space, and what marks quotes and lists in the output."""
    return re.sub(r"[\s▌•─]+", "", without_controls(text))


def check_document(written: Written, data: st.DataObject, width: int) -> None:
    """Every block and cell is there, in order, and code line for line."""
    shown = streamed(written.markup, places(data, written.markup), width)
    assert shown == streamed(written.markup, [], width)
    assert raw_controls(shown) == []
    lines = shown.split("\n")
    at = 0
    for line in written.code:
        at = lines.index(line, at)
        at += 1
    if re.search(r"^[> \d.-]*\|", written.markup, re.MULTILINE):
        # Cells stand next to each other, and their lines are mixed.
        for seen in written.seen:
            left = iter(visible(shown))
            assert all(character in left for character in visible(seen)), (seen, shown)
        return
    rest = visible(shown)
    for seen in written.seen:
        part = visible(seen)
        found = rest.find(part)
        assert found >= 0, (part, shown)
        rest = rest[found + len(part) :]


def check_soup(text: str, data: st.DataObject, width: int) -> None:
    """All but marks is there, and the pieces make no difference."""
    shown = streamed(text, places(data, text), width)
    assert shown == streamed(text, [], width)
    assert raw_controls(shown) == []
    letters = Counter(filter(_is_letter, without_controls(text)))
    # The names of languages, and of environments and commands of formulas that are shown
    # as Unicode, are marks.
    letters -= Counter("python" * text.count("python"))
    assert letters <= Counter(filter(_is_letter, unicodedata.normalize("NFKC", shown)))


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LS" and character not in "`~$|<>=+^"


FAST = settings(
    deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@settings(FAST, max_examples=QUICK // 2)
@given(documents(), st.data(), st.sampled_from(WIDTHS))
def test_every_block_is_seen(written: Written, data: st.DataObject, width: int) -> None:
    """Lists, quotes, tables, code and formulas, in each other."""
    check_document(written, data, width)


@settings(FAST, max_examples=QUICK // 2)
@given(soups, st.data(), st.sampled_from(WIDTHS))
def test_nothing_of_a_muddle_is_lost(text: str, data: st.DataObject, width: int) -> None:
    """Unfinished constructs and control characters lose no text."""
    check_soup(text, data, width)


@pytest.mark.slow
def test_every_generated_text_is_seen(note: Note) -> None:
    """Each at one of the widths; a half of them documents, a half muddles."""
    count = 0

    @settings(FAST, max_examples=LONG // 2, derandomize=False)
    @given(documents(), soups, st.data(), st.sampled_from(WIDTHS))
    def check(written: Written, text: str, data: st.DataObject, width: int) -> None:
        nonlocal count
        check_document(written, data, width)
        check_soup(text, data, width)
        count += 2

    check()
    note("markdown", count)
