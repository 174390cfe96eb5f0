"""What a header can hold: names of tools and speakers, channels and content types."""

from __future__ import annotations

import re

from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.messages import CHANNELS, ROLES

__all__ = [
    "CALLABLE",
    "check_channel",
    "check_content_type",
    "check_name",
    "check_tool_name",
    "is_content_type",
    "is_name",
    "is_tool_name",
]

NAME = re.compile(r"[\w.-]+")
"""The characters that are parsed alike in every form of header that models write."""

CALLABLE = re.compile(r"functions\.\S+|browser\.\S+|python")
"""Names that a model may call without ``to=`` before them."""

TYPE = re.compile(r"[\w.+/-]+")

_TAKEN = (*ROLES, "all")


def is_name(text: str) -> bool:
    """Whether a header can hold ``text`` as a name or a recipient."""
    return NAME.fullmatch(text) is not None


def is_tool_name(text: str) -> bool:
    """Whether a tool can have this name: in a header it takes the place of a role."""
    return is_name(text) and text.casefold() not in _TAKEN


def is_content_type(text: str) -> bool:
    """Whether a header can hold ``text`` as a content type, and as nothing else."""
    word = text.removeprefix("<|constrain|>")
    if TYPE.fullmatch(word) is None:
        return False
    # Without <|constrain|> it would be read as a channel or a recipient.
    is_bare = word == text
    return not (is_bare and (word.casefold() in CHANNELS or CALLABLE.fullmatch(word)))


def check_content_type(text: str, what: str = "A content type") -> None:
    """Refuse a content type that a header cannot hold.

    Raises:
        HarmonyError: It has other characters, or is the name of a channel or a tool.
    """
    if not is_content_type(text):
        raise HarmonyError(
            f"{what} must be one word that names a format but is {text!r:.60}.",
            hint="Use json, code or <|constrain|>json.",
        )


def check_channel(text: str, what: str = "A channel") -> None:
    """Refuse a channel that a header cannot hold.

    Raises:
        HarmonyError: It has other characters than a name.
    """
    if not is_name(text):
        raise HarmonyError(
            f"{what} must consist of letters, digits, '_', '-', '.' but is {text!r:.60}.",
            hint=f"Use one of {', '.join(CHANNELS)}.",
        )


def check_name(text: str, what: str) -> None:
    """Refuse a name that a header cannot hold.

    Args:
        text: The name.
        what: The kind of name for the error's message, e.g. ``A recipient``.

    Raises:
        HarmonyError: The name has other characters.
    """
    if not is_name(text):
        raise HarmonyError(
            f"{what} must consist of letters, digits, '_', '-', '.' but is {text!r:.60}.",
            hint="Choose another name, for example functions.get_weather.",
        )


def check_tool_name(text: str, what: str = "A tool's name") -> None:
    """Refuse a name that a header cannot hold, and the name of a role.

    Raises:
        HarmonyError: The name is one of these.
    """
    check_name(text, what)
    if not is_tool_name(text):
        raise HarmonyError(
            f"{what} must not be one of {', '.join(_TAKEN)} but is {text!r}.",
            hint="Choose another name, for example functions.get_weather.",
        )
