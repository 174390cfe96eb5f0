"""Reads bare addresses and Windows paths in Markdown."""

from __future__ import annotations

import re

from markdown_it.rules_inline import StateInline

__all__ = ["bare_address"]

# Bare addresses and Windows paths, from their colon on.
_ADDRESS = re.compile(r"://(?:(?![<>`\\])[!-~])+")
_SCHEME = re.compile(r"(?<![A-Za-z0-9])(?:https?|ftp|file|wss?|s3|ssh|git)$", re.IGNORECASE)
_PATH = re.compile(r":\\(?![(\[])(?:(?![<>`])[!-~])+")
_DRIVE = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]$")
# At their end these are punctuation or marks.
_AFTER_ADDRESS = "*_~.,;:!?'\")]}|"


def bare_address(state: StateInline, silent: bool) -> bool:
    """Keep a bare address or a Windows path as written."""
    for before, after in ((_SCHEME, _ADDRESS), (_DRIVE, _PATH)):
        found = after.match(state.src, state.pos, state.posMax)
        if found is not None and before.search(state.pending[-8:]):
            address = found[0].rstrip(_AFTER_ADDRESS)
            state.push("text", "", 0).content = address
            state.pos += len(address)
            return True
    return False
