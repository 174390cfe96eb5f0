from __future__ import annotations

import pytest

from gptoss_mlx.chat.controls import without_controls


def test_control_characters_do_not_reach_the_terminal() -> None:
    """Line ends and tabs do, and so does every printable character."""
    assert without_controls("a\x1b[31mb\r\n\tc\x07 ü🎉") == "a[31mb\n\tc ü🎉"


@pytest.mark.parametrize("control", ["\x9b", "\x7f", "\u202e", "\u2067", "\udc80"])
def test_what_acts_like_a_control_character_is_left_out(control: str) -> None:
    """The short form of Escape [, what turns text around, and half a character."""
    assert without_controls(f"a{control}b") == "ab"


@pytest.mark.parametrize("text", ["5\u202fkm", "👩\u200d💻", "a\u00a0b", "می\u200cخواهم"])
def test_what_belongs_to_words_and_emoji_stays(text: str) -> None:
    """Narrow spaces stand before units, joiners make one sign of two."""
    assert without_controls(text) == text
