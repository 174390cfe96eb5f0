"""Names of tools and speakers: what a header can hold, and no role."""

from __future__ import annotations

import re

from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.messages import ROLES

__all__ = ["check_name", "check_tool_name", "is_name", "is_tool_name"]

NAME = re.compile(r"[\w.-]+")
"""What is read alike in every form of a header that models write."""

_TAKEN = (*ROLES, "all")


def is_name(text: str) -> bool:
    """Tell whether a header can hold ``text`` as a name or a recipient."""
    return NAME.fullmatch(text) is not None


def is_tool_name(text: str) -> bool:
    """Tell whether a tool can have this name: in a header it stands in a role's place."""
    return is_name(text) and text.casefold() not in _TAKEN


def check_name(text: str, what: str) -> None:
    """Refuse what no header can hold.

    Args:
        text: The name.
        what: What it is, for the error's message, e.g. ``A recipient``.

    Raises:
        HarmonyError: It has another form.
    """
    if not is_name(text):
        raise HarmonyError(
            f"{what} must be of letters, digits, '_', '-' and '.' but is {text!r:.60}.",
            hint="Name it otherwise, for example functions.get_weather.",
        )


def check_tool_name(text: str, what: str = "A tool's name") -> None:
    """Refuse what no header can hold, and the name of a role.

    Raises:
        HarmonyError: It is one of these.
    """
    check_name(text, what)
    if not is_tool_name(text):
        raise HarmonyError(
            f"{what} must be none of {', '.join(_TAKEN)} but is {text!r}.",
            hint="Name it otherwise, for example functions.get_weather.",
        )
