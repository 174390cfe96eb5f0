"""The ZIM archives of a library, each of which has an index of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

from gptoss_mlx.errors import GptOssError
from gptoss_mlx.library.catalog import Root
from gptoss_mlx.library.index import Hit
from gptoss_mlx.library.text import Text

__all__ = ["Archive", "Archives", "merged", "open_archive"]


class Archive(Protocol):
    """What is used of a ``ZimArchive``; its documents' names have no label."""

    def search(self, query: str, limit: int) -> list[Hit]:
        """Return the best passages."""

    def text(self, name: str) -> Text:
        """Return a document; raise a DocumentNotFoundError for one that is not there."""

    def has(self, name: str) -> bool:
        """Return whether there is a document of this name."""


def open_archive(path: Path) -> Archive:
    """Open a ZIM archive.

    Raises:
        UnreadableDocumentError: It is damaged, or the package that reads it is missing.
        StorageError: It cannot be read.
    """
    from gptoss_mlx.library.zim import ZimArchive

    return ZimArchive(path)


class Archives:
    """The archives of a library, opened when they are needed."""

    def __init__(self) -> None:
        self._opened: dict[Path, Archive] = {}

    def search(self, roots: Iterable[Root], query: str, limit: int) -> list[list[Hit]]:
        """Return the best passages of each archive that can be read."""
        found = []
        for root in roots:
            if not root.is_archive:
                continue
            try:
                hits = self._open(root).search(query, limit)
            except GptOssError:
                continue  # an update lists it with the reason
            found.append([replace(hit, name=f"{root.label}/{hit.name}") for hit in hits])
        return found

    def find(self, roots: Iterable[Root], name: str) -> tuple[Archive, str] | None:
        """Return the archive that a document's name leads to, and its name there."""
        label, slash, inside = name.partition("/")
        for root in roots:
            if slash and root.is_archive and root.label == label:
                return self._open(root), inside
        return None

    def _open(self, root: Root) -> Archive:
        if root.path not in self._opened:
            self._opened[root.path] = open_archive(root.path)
        return self._opened[root.path]


def merged(lists: Iterable[list[Hit]], limit: int) -> list[Hit]:
    """Merge lists by rank: their scores cannot be compared."""
    ranks = zip_longest(*lists)
    return [hit for rank in ranks for hit in rank if hit is not None][:limit]
