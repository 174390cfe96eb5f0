"""Text of others reaches no reader raw, wherever it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hostile import ESCAPES, raw_controls
from shown_places import PLACES

TOGETHER = ["".join(ESCAPES[i::4]) for i in range(4)]
SHORT = "\x1b\r\u2028\x85\u202e"


def check_place(name: str, samples: list[str], folder: Path, *, is_terminal: bool) -> None:
    """Show samples, and what is around them, which is in one line where it must be."""
    place = PLACES[name]
    for sample in samples:
        shown = place.shown(f"«{sample}»", folder, is_terminal=is_terminal)

        assert raw_controls(shown) == [], (sample, shown)
        # What is long may be cut.
        whole = "«.*»" if len(sample) < 40 else "«"
        assert re.search(whole, shown, re.NOFLAG if place.one_line else re.DOTALL), shown


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize("name", PLACES)
def test_nothing_raw_is_shown(name: str, is_terminal: bool, tmp_path: Path) -> None:
    """60 samples in each place, fifteen at once."""
    check_place(name, [SHORT, *TOGETHER], tmp_path, is_terminal=is_terminal)


@pytest.mark.slow
@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
def test_nothing_raw_is_shown_of_each_sample(is_terminal: bool, tmp_path: Path) -> None:
    """The same test for each sample."""
    for number, name in enumerate(PLACES):
        folder = tmp_path / str(number)
        folder.mkdir()
        check_place(name, list(ESCAPES), folder, is_terminal=is_terminal)


@pytest.mark.parametrize("name", PLACES)
def test_markup_is_shown_as_it_is(name: str, tmp_path: Path) -> None:
    """No name is taken for a style of Rich's, or for a form of Python's."""
    markup = "«[red]a[/red] [/] {a} %s»"
    shown = PLACES[name].shown(markup, tmp_path, is_terminal=True)

    # A name of a file has no slash.
    assert markup in shown or markup.replace("/", "") in shown or "[red]a[/red]..." in shown
