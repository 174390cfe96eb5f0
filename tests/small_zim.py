"""A small ZIM archive, written by libzim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from libzim.writer import Creator, Hint, Item, StringProvider

__all__ = ["write_zim"]


class _Item(Item):  # type: ignore[misc]
    def __init__(self, path: str, title: str, kind: str, content: str | bytes) -> None:
        super().__init__()
        self._all = (path, title, kind)
        self._content = content

    def get_path(self) -> str:
        return self._all[0]

    def get_title(self) -> str:
        return self._all[1]

    def get_mimetype(self) -> str:
        return self._all[2]

    def get_contentprovider(self) -> Any:
        return StringProvider(self._content)

    def get_hints(self) -> dict[Any, Any]:
        return {Hint.FRONT_ARTICLE: self._all[2] == "text/html"}


def write_zim(
    path: Path,
    items: Sequence[tuple[str, str, str, str | bytes]],
    *,
    redirects: Mapping[str, str] | None = None,
    language: str = "eng",
    indexed: bool = True,
    title: str = "A site",
) -> None:
    """Write an archive.

    Args:
        path: Where.
        items: Path, title, media type and content of each.
        redirects: Where each path leads.
        language: Of the texts, as ISO 639-3 has it.
        indexed: Whether it has a full-text index.
        title: Of the archive.
    """
    creator = Creator(path).config_verbose(False).config_nbworkers(1)
    with creator.config_indexing(indexed, language) as written:
        written.set_mainpath(items[0][0])
        for item in items:
            written.add_item(_Item(*item))
        for source, target in (redirects or {}).items():
            written.add_redirection(source, source, target, {Hint.FRONT_ARTICLE: True})
        written.add_metadata("Language", language)
        if title:
            written.add_metadata("Title", title)
