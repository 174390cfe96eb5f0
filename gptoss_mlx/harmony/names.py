"""Names of tools and speakers: allowed in a header, and not the name of a role."""

from __future__ import annotations

import re

from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.messages import ROLES

__all__ = ["check_name", "check_tool_name", "is_name", "is_tool_name"]

NAME = re.compile(r"[\w.-]+")
"""The characters that are parsed alike in every form of header that models write."""

_TAKEN = (*ROLES, "all")


def is_name(text: str) -> bool:
    """Whether a header can hold ``text`` as a name or a recipient."""
    return NAME.fullmatch(text) is not None


def is_tool_name(text: str) -> bool:
    """Whether a tool can have this name: in a header it takes the place of a role."""
    return is_name(text) and text.casefold() not in _TAKEN


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
