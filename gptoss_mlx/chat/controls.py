"""Text of a model's, made harmless for a terminal."""

from __future__ import annotations

import re

__all__ = ["without_controls"]

# All but line feed and tab, the marks that turn the writing direction around, and halves
# of characters. Joiners and odd spaces stay: emoji and units of measure are made of them.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def without_controls(text: str) -> str:
    """Leave out control characters, which could make a terminal do things."""
    return _CONTROLS.sub("", text)
