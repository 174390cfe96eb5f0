from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_mlx.generation.stops import StopStrings


@given(
    st.lists(st.text("abc", max_size=5), max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=5), max_size=3),
)
def test_what_is_shown_ends_before_the_first_stop_text(
    pieces: list[str], stops: list[str]
) -> None:
    """For any pieces: the text before the stop text that is completed first, or all."""
    search = StopStrings(stops)
    shown, given_text = "", ""
    for piece in pieces:
        given_text += piece
        shown += search.push(piece)
        assert given_text.startswith(shown)
        if search.found is not None:
            break
    else:
        shown += search.flush()

    found = [(given_text.find(stop), stop) for stop in stops if stop in given_text]
    if found:
        place, _ = min(found)
        assert shown == given_text[:place]
        assert given_text.startswith(search.found or "", place)
    else:
        assert search.found is None
        assert shown == given_text


def test_text_that_cannot_become_a_stop_text_is_shown_at_once() -> None:
    """Only what may yet become one is held back."""
    search = StopStrings(["END."])

    assert [search.push(piece) for piece in ["The E", "N", "D", " of EN"]] == [
        "The ",
        "",
        "",
        "END of ",
    ]
    assert search.flush() == "EN"


def test_nothing_is_shown_after_a_stop_text() -> None:
    """Even if more text follows."""
    search = StopStrings(["b"])

    assert [search.push(piece) for piece in ["ab", "c"]] == ["a", ""]
    assert search.flush() == ""


def test_an_empty_stop_text_is_refused() -> None:
    """It would stop every answer at once."""
    with pytest.raises(ValueError, match="must not be empty"):
        StopStrings(["a", ""])
