from __future__ import annotations

import pytest
from hostile import ESCAPES, raw_controls

from gptoss_mlx.controls import escaped, without_controls


@pytest.mark.parametrize("sample", ESCAPES)
def test_nothing_that_a_terminal_obeys_is_left(sample: str) -> None:
    """Whether it is left out of a text or written as an escape in a name."""
    assert raw_controls(sample)
    assert raw_controls(without_controls(f"a{sample}b")) == []
    assert raw_controls(escaped(f"a{sample}b"), allowed="") == []


def test_every_character_of_unicode_is_visible_or_left_out() -> None:
    """Also those that Python's version of Unicode names since its last release."""
    every = [chr(code) for code in range(0x110000)]
    assert raw_controls(without_controls("".join(every))) == []
    assert raw_controls(escaped("".join(every)), allowed="") == []


def test_a_text_without_its_controls_is_otherwise_the_same() -> None:
    """Line ends and tabs stay, and so does every printable character."""
    assert without_controls("a\x1b[31mb\r\n\tc\x07 ü🎉") == "a[31mb\n\tc ü🎉"


@pytest.mark.parametrize(
    "text",
    [
        "5\u202fkm",
        "\u06dd١",
        "\U00013080\U00013430\U00013081",
        "👩\u200d💻",
        "a\u00a0b",
        "می\u200cخواهم",
        "א\u200f1\u200e",
        "한글",
    ],
)
def test_what_belongs_to_words_and_emoji_stays(text: str) -> None:
    """Narrow spaces stand before units, joiners make one sign of two."""
    assert without_controls(text) == text


def test_another_kind_of_line_end_is_a_line_end() -> None:
    """Unicode's separators end lines where they are shown."""
    assert without_controls("a\u2028b\u2029c") == "a\nb\nc"


def test_a_name_is_one_line_and_says_what_is_in_it() -> None:
    """Line ends and joiners too are written as escapes; printable characters stay."""
    assert escaped("a\u200e\u200f\u3164b") == r"a\u200e\u200f\u3164b"
    assert escaped("ü\n\x1b[1m\u200d\U000e0041") == r"ü\n\x1b[1m\u200d\U000e0041"
