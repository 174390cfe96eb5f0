"""A ZIM archive: Wikipedia, or another site, in one file with its own full-text index.

libzim reads it. The file is mapped, not loaded, and nothing is ever fetched.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptoss_mlx.errors import DocumentNotFoundError, UnreadableDocumentError
from gptoss_mlx.files import open_file
from gptoss_mlx.library.index import Hit
from gptoss_mlx.library.passages import Passage, passages
from gptoss_mlx.library.query import parse_query
from gptoss_mlx.library.ranking import Ranking
from gptoss_mlx.library.readers.encoding import decode
from gptoss_mlx.library.readers.html import parse_html
from gptoss_mlx.library.readers.source import Source
from gptoss_mlx.library.text import Text
from gptoss_mlx.library.words import analyzer
from gptoss_mlx.library.zim_search import ArticleSearch

__all__ = ["ZimArchive"]

_INSTALL = "pip install libzim"
_MAGIC = b"ZIM\x04"
_MAX_ARTICLE_BYTES = 32 << 20
# Articles whose passages are ranked for a query.
_MAX_ARTICLES = 24

# The languages that the metadata name (ISO 639-3), as ours are named.
_LANGUAGES = {
    "ces": "cs", "dan": "da", "deu": "de", "eng": "en", "fra": "fr", "ita": "it",
    "jpn": "ja", "nld": "nl", "pol": "pl", "por": "pt", "rus": "ru", "spa": "es",
    "swe": "sv", "zho": "zh",
}  # fmt: skip


class ZimArchive:
    """A ZIM archive, whose documents are named by their paths within it.

    Attributes:
        path: The file.
        title: That of its metadata; the file's name if it has none.
        language: Of its metadata, as a code of two letters; English if it is unknown.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the archive.

        Raises:
            UnreadableDocumentError: It is damaged, or no ZIM archive, or libzim is not
                installed.
            StorageError: It cannot be read.
        """
        self.path = Path(path)
        with open_file(self.path) as file:
            nbytes = os.fstat(file.fileno()).st_size
            source = Source(self.path, file, nbytes)
            if file.read(len(_MAGIC)) != _MAGIC:
                raise source.unreadable("is no ZIM archive")
            try:
                from libzim.reader import Archive
            except ImportError as error:
                raise source.unreadable(
                    f"needs libzim: {_INSTALL}", hint=f"Install it: {_INSTALL}"
                ) from error
        with self._reading():
            self._archive: Any = Archive(self.path)
            self._search = ArticleSearch(self._archive)
        self.title = self._metadata("Title") or self.path.name
        language = self._metadata("Language").split(",")[0].strip()
        self.language = _LANGUAGES.get(language, language[:2] or "en")

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Return the passages that best answer ``query``, the best first.

        libzim finds the articles: by its full-text index, or by their titles if it has
        none. An article that cannot be read is left out.

        Raises:
            UnreadableDocumentError: The archive is damaged.
        """
        with self._reading():
            words = self._search.words(query)
            groups = parse_query(query, [self.language], self._search.counts(words))
            names = self._search.articles(words, _MAX_ARTICLES)
        ranking = Ranking(groups)
        scored: list[tuple[float, str, Text, Passage]] = []
        for name in names:
            try:
                text = self.text(name)
            except UnreadableDocumentError:
                continue
            for passage in passages(text):
                headings = "\n".join(passage.headings)
                score = ranking.score(
                    analyzer(self.language), text.title, headings, passage.text
                )
                scored.append((score, name, text, passage))
        scored.sort(key=lambda each: (-each[0], each[1], each[3].first_line))
        return [
            self._hit(score, name, text, passage, ranking)
            for score, name, text, passage in scored[:limit]
            if score > 0
        ]

    def text(self, name: str) -> Text:
        """Return an article; a redirection is followed.

        Raises:
            DocumentNotFoundError: There is none of this name.
            UnreadableDocumentError: It is too large, no text, or the archive is damaged.
        """
        with self._reading():
            item = self._item(name)
            if item is None:
                raise DocumentNotFoundError(f"{name}: is not in {self.path}.")
            if item.size > _MAX_ARTICLE_BYTES:
                limit = _MAX_ARTICLE_BYTES >> 20
                raise UnreadableDocumentError(self.path, f"{name} in it is over {limit} MB")
            kind = _kind(item)
            title = item.title or name
            content = bytes(item.content)
        if kind == "text/html":
            page = parse_html(content, Source(self.path, io.BytesIO(content), len(content)))
            return Text(
                page.title or title,
                tuple(page.lines),
                tuple(page.headings),
                links=tuple(page.links),
            )
        if kind == "text/plain":
            return Text(title, tuple(decode(content).splitlines()))
        raise UnreadableDocumentError(self.path, f"{name} in it is no text")

    def has(self, name: str) -> bool:
        """Return whether there is an article of this name, or a redirection to one.

        Raises:
            UnreadableDocumentError: The archive is damaged.
        """
        with self._reading():
            item = self._item(name)
            return item is not None and _kind(item) in ("text/html", "text/plain")

    def _item(self, name: str) -> Any:
        """Return what a path leads to, or None."""
        try:
            return self._archive.get_entry_by_path(name).get_item()
        except (KeyError, UnicodeEncodeError):
            return None

    def _metadata(self, name: str) -> str:
        with self._reading():
            if name not in self._archive.metadata_keys:
                return ""
            content: bytes = self._archive.get_metadata(name)
        return " ".join(content.decode(errors="replace").split())

    def _hit(
        self, score: float, name: str, text: Text, passage: Passage, ranking: Ranking
    ) -> Hit:
        lines = passage.text.split("\n")
        best_line = ranking.best_line(analyzer(self.language), lines)
        return Hit(
            name,
            text.title,
            passage.first_line,
            passage.last_line,
            passage.headings,
            None,
            score,
            passage.first_line + best_line,
            passage.text,
        )

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError, IndexError) as error:
            raise UnreadableDocumentError(self.path, f"is damaged: {error}") from error


def _kind(item: Any) -> str:
    """Return the media type of an item, without its parameters."""
    kind: str = item.mimetype
    return kind.partition(";")[0].strip().lower()
