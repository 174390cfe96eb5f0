from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_mlx.grounding.markers import find_marker, possible_marker


@pytest.mark.parametrize(
    ("text", "cursor", "ranges"),
    [
        ("【3†L9】", 3, ((9, 9),)),
        ("【3†L9-L11】", 3, ((9, 11),)),
        ("【3†L9-11】", 3, ((9, 11),)),
        ("【3†9-11】", 3, ((9, 11),)),
        ("【3†L9–L11】", 3, ((9, 11),)),
        ("【3†L11-L9】", 3, ((9, 11),)),
        ("【3†L9-L11, L14】", 3, ((9, 11), (14, 14))),
        ("【3†L9,L14】", 3, ((9, 9), (14, 14))),
        ("【3†L9、L14】", 3, ((9, 9), (14, 14))),
        ("【3†lines 9-11】", 3, ((9, 11),)),
        ("【 3 † L9 - L11 】", 3, ((9, 11),)),
        ("【３†Ｌ９－Ｌ１１】", 3, ((9, 11),)),
        ("【3†L9-L11†letters/heating.md】", 3, ((9, 11),)),
        ("[3†L9-L11]", 3, ((9, 11),)),
        ("［3†L9］", 3, ((9, 9),)),
        ("【3‡L9】", 3, ((9, 9),)),
        ("【3:0†source】", 3, ()),
        ("【3†source】", 3, ()),
        ("【3】", 3, ()),
    ],
)
def test_forms_that_models_write_are_read(
    text: str, cursor: int, ranges: tuple[tuple[int, int], ...]
) -> None:
    """Between other words too."""
    marker = find_marker(f"words {text} more")

    assert marker is not None
    assert (marker.cursor, marker.ranges) == (cursor, ranges)
    assert f"words {text} more"[marker.start : marker.end] == text
    assert marker.is_certain == ("†" in text or "‡" in text)


@pytest.mark.parametrize(
    "text",
    [
        "[3]",
        "[3](url)",
        "【注】",
        "【3†L9",
        "3†L9】",
        "[x†L9]",
        "【†L9】",
        "【1234567†L】",
        "",
    ],
)
def test_other_brackets_are_no_markers(text: str) -> None:
    """Links, footnotes and headings stay as they are."""
    assert find_marker(text) is None


PIECES = st.sampled_from([*"【】[]†‡L39-,: ", "\n", "a", "【3†L9】", "[3†L9]"])


@settings(max_examples=500, deadline=None, database=None)
@given(st.lists(PIECES, max_size=20).map("".join))
def test_what_becomes_a_marker_is_held_back(text: str) -> None:
    """However it is cut, what is shown before it is no part of it."""
    marker = find_marker(text)
    if marker is not None:
        for end in range(marker.start + 1, marker.end):
            assert possible_marker(text[:end]) <= marker.start


def test_little_is_held_back() -> None:
    """A bracket that goes on otherwise is shown at once."""
    assert possible_marker("see [the") == 8
    assert possible_marker("see [") == 4
    assert possible_marker("see 【3†L9") == 4
    assert possible_marker("see 【3†L9】") == 10
    assert possible_marker(f"see [3†{'x' * 300}") == 307
