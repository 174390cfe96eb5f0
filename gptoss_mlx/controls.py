"""Makes text from elsewhere harmless to display."""

from __future__ import annotations

import json
import re

__all__ = ["escaped", "json_text", "without_controls"]

# C0, DEL and C1, surrogates, and characters that change the writing direction.
_CONTROLS = "\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
# Line and paragraph separators, and characters without width: soft hyphen, zero-width
# spaces, invisible operators, deprecated format characters, annotations, controls of
# shorthand and of music, tags. Fillers of Hangul syllables are letters but as invisible.
_INVISIBLE = (
    "\xad\u061c\u115f\u1160\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Words and emoji contain joiners and direction marks, and hieroglyphs are grouped by their
# own joiners. Names do not need them.
_JOINERS = "\u200c-\u200f\U00013430-\U0001343f"

_IN_A_NAME = re.compile(f"[{_CONTROLS}{_INVISIBLE}{_JOINERS}]")
_IN_TEXT = re.compile(f"(?![\t\n])[{_CONTROLS}{_INVISIBLE}]")


def escaped(text: str) -> str:
    r"""Write every invisible character, line ends too, as an escape: ``\x1b``.

    For names from files and servers, in one line: paths, tensors, keys, titles, errors.
    """
    return _IN_A_NAME.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    # Not repr(), which leaves some invisible characters.
    code = ord(character)
    short = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}.get(character)
    return short or (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def json_text(value: object) -> str:
    r"""Write a value as JSON, with invisible characters as escapes: ``\u009b``.

    Raises:
        TypeError: JSON cannot hold the value.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # Outside of strings, JSON contains none of these.
    return _IN_TEXT.sub(lambda found: json.dumps(found[0])[1:-1], text)


def without_controls(text: str) -> str:
    """Remove invisible characters except line feeds and tabs: a terminal may obey them.

    For texts of a model or a document, in many lines. Joiners and odd spaces stay.
    """
    return _IN_TEXT.sub("", text.replace("\u2028", "\n").replace("\u2029", "\n"))
