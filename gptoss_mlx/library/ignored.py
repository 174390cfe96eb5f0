"""What the .gitignore files of a folder leave out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from gptoss_mlx.errors import StorageError
from gptoss_mlx.files import read_file

__all__ = ["GITIGNORE", "IgnoreRules", "rules_of"]

GITIGNORE = ".gitignore"
_MAX_BYTES = 1 << 20
_MAX_STARS = 3


class IgnoreRules(NamedTuple):
    """The rules of a folder and of those above it.

    Attributes:
        within: The folder's path in the root, with "/" at its end; empty for the root.
        spec: The rules of its own .gitignore.
        above: Those of the folders above; None if there are none.
    """

    within: str
    spec: GitIgnoreSpec
    above: IgnoreRules | None

    def ignore(self, path: str) -> bool:
        """Return whether a path in the root, with "/" at the end of a folder's, is ignored.

        A folder above it is not.
        """
        rules: IgnoreRules | None = self
        while rules is not None:
            ignored = rules.spec.check_file(path[len(rules.within) :]).include
            if ignored is not None:
                return ignored
            rules = rules.above
        return False


def rules_of(folder: Path, within: str, above: IgnoreRules | None) -> IgnoreRules | None:
    """Return the rules for what is in a folder that has a .gitignore.

    One that cannot be read, or is a link, has none, as for git.
    """
    path = folder / GITIGNORE
    if path.is_symlink():
        return above
    try:
        content = read_file(path, max_bytes=_MAX_BYTES)
    except StorageError:
        return above
    text = content.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    spec = GitIgnoreSpec.from_lines(line for line in lines if _is_valid(line))
    return IgnoreRules(within, spec, above)


def _is_valid(line: str) -> bool:
    # One that is not matches nothing. With many stars, matching would take minutes.
    parts = line.split("/")
    if (
        any(part.count("*") > _MAX_STARS for part in parts)
        or parts.count("**") > _MAX_STARS
    ):
        return False
    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True
