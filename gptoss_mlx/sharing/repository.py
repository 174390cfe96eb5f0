"""The name of a model on the Hub: ``USER/REPO``, and ``USER/REPO@DIGEST``."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Repository", "parse_repository"]

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_FORM = re.compile(rf"({_PART}/{_PART})(?:@([0-9a-f]{{32,64}}))?")


class Repository(NamedTuple):
    """A repository on the Hub.

    Attributes:
        id: ``USER/REPO``.
        digest: The beginning of its manifest's sha256; None if it was not named.
    """

    id: str
    digest: str | None = None


def parse_repository(text: str) -> Repository | None:
    """Read a name as it is typed; None if it cannot be one of a repository."""
    found = _FORM.fullmatch(text)
    if found is None or "--" in found[1] or ".." in found[1]:
        return None
    return Repository(found[1], found[2])
