"""What is in a folder, to compare one with another."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["digests"]


def digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    """Return the sha256 of every file, hidden ones too, by its path in ``folder``."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }
