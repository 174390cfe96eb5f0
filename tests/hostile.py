"""Characters that a terminal obeys or nobody sees, and how to find them in an output."""

from __future__ import annotations

import unicodedata

__all__ = ["ESCAPES", "raw_controls"]

ESCAPES = (
    "\x1b[31m", "\x1b[2J", "\x1b[1A\x1b[2K", "\x1b[999;999H", "\x1b[6n", "\x1b[c",
    "\x1b[?1049h", "\x1b[?25l", "\x1b[?2004h", "\x1b[8m", "\x1b[5;7m", "\x1b[3J",
    "\x1b]0;title\x07", "\x1b]2;title\x1b\\", "\x1b]52;c;cm0gLXJm\x07",
    "\x1b]8;;http://example.com\x1b\\here\x1b]8;;\x1b\\", "\x1b]11;?\x07",
    "\x1b]1337;File=inline=1:AAAA\x07", "\x1b]4;1;red\x07", "\x1b]104\x07",
    "\x1bP+q544e\x1b\\", "\x1bPtmux;\x1b\x1b[31m\x1b\\", "\x1b_Ga=T;AAAA\x1b\\",
    "\x1b^private\x1b\\", "\x1bXstring\x1b\\", "\x1bc", "\x1b7\x1b8", "\x1b#8",
    "\x1b(0", "\x1b>", "\x1b=", "\x1bM", "\x1b%@", "\x1b[20t", "\x1b[21t",
    "\x9b31m", "\x9d0;title\x9c", "\x90q\x9c", "\x9e\x9c", "\x85", "\x84", "\x8d",
    "\x00", "\x07", "\x08\x08\x08", "\x0b", "\x0c", "\x0e", "\x0f", "\x11\x13", "\r",
    "\x7f", "\u202ecod.exe", "\u202d", "\u2066\u2069", "\u2067", "\u061c",
    "\u200b", "\u2060", "\ufeff", "\u2028", "\u2029",
    "\u115f", "\u1160", "\u3164", "\uffa0",
    "\U0001bca0\U0001bca3", "\U0001d173\U0001d17a",
    "\U000e0041\U000e0042\U000e007f", "\ufff9a\ufffab\ufffb", "\xad",
)  # fmt: skip
"""Each is one sample."""

_NUMBER_MARKS = (
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)


def raw_controls(text: str, *, allowed: str = "\n\t") -> list[str]:
    """Return the characters of ``text`` that may not reach a reader, in their order.

    Args:
        allowed: What is our own: the line feed, and the tab of a text's own.

    Joiners belong to words, and Arabic, Syriac and Kaithi number marks are visible signs
    (Prepended_Concatenation_Mark), although Unicode calls both format characters.
    """
    return [
        character
        for character in text
        if character not in allowed
        and (
            character in "\u115f\u1160\u3164\uffa0"
            or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        )
        and not "\U00013430" <= character <= "\U0001343f"
        and character not in "\u200c\u200d\u200e\u200f" + _NUMBER_MARKS
    ]
