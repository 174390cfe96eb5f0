"""Reads EPUB: the chapters in reading order.

Its two lists, of the files and of the chapters, are XML; EbookLib, which reads them too, is
under the AGPL.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from gptoss_mlx.library.readers.archive import Archive
from gptoss_mlx.library.readers.html import parse_html
from gptoss_mlx.library.readers.linked_line import MAX_LINKS
from gptoss_mlx.library.readers.source import Source, one_line
from gptoss_mlx.library.text import Heading, Link, Text

__all__ = ["read_epub"]

_CONTAINER = "META-INF/container.xml"
_MAX_CHAPTERS = 5_000
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_MAX_TEXT_BYTES = 128 << 20


def read_epub(source: Source) -> Text:
    """Read an EPUB.

    A chapter without headings has its name in the table of contents as its heading.

    Raises:
        UnreadableDocumentError: It is damaged, protected or too large, or lxml is not
            installed.
    """
    with Archive(source) as archive:
        if "META-INF/rights.xml" in archive or "META-INF/sinf.xml" in archive:
            raise source.unreadable("is protected against copying (DRM)")
        opf, package = _package(archive, source)
        chapters = [name for name in _chapters(opf, package) if name in archive]
        if not chapters:
            raise source.unreadable("is damaged: it has no chapters")
        names = _names(archive, opf, package, source)
        lines: list[str] = []
        headings: list[Heading] = []
        links: list[Link] = []
        nbytes = 0
        for chapter in chapters[:_MAX_CHAPTERS]:
            nbytes += archive.nbytes(chapter)
            if nbytes > _MAX_TEXT_BYTES:
                raise source.unreadable(f"over {_MAX_TEXT_BYTES >> 20} MB of text")
            page = parse_html(archive.read(chapter), source)
            if page.lines and not page.headings and chapter in names:
                headings.append(Heading(len(lines), 1, names[chapter]))
            headings += [
                Heading(len(lines) + heading.line, heading.level, heading.text)
                for heading in page.headings
            ]
            # The book is one document, so that only links out of it lead anywhere.
            links += [
                replace(link, line=len(lines) + link.line)
                for link in page.links
                if link.target.startswith(("http://", "https://"))
            ]
            lines += page.lines
    title = one_line(package.findtext(".//{*}metadata/{*}title") or "")
    return Text(
        title or source.path.name,
        tuple(lines),
        tuple(headings),
        links=tuple(links[:MAX_LINKS]),
    )


def _parse(archive: Archive, name: str, source: Source) -> Any:
    """Parse XML without entities, DTD and network."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, recover=True
    )
    root = etree.fromstring(archive.read(name), parser)
    if root is None:
        raise source.unreadable(f"is damaged: {name} is not XML")
    return root


def _package(archive: Archive, source: Source) -> tuple[str, Any]:
    """Return the name of the list of files, and the list."""
    container = _parse(archive, _CONTAINER, source)
    rootfile = container.find(".//{*}rootfile")
    opf = "" if rootfile is None else _member("", rootfile.get("full-path") or "")
    return opf, _parse(archive, opf, source)


def _chapters(opf: str, package: Any) -> list[str]:
    """Return the names of the chapters in reading order, each once."""
    items = {
        item.get("id"): _member(opf, item.get("href") or "")
        for item in package.iterfind(".//{*}manifest/{*}item")
        if item.get("media-type") in _PAGES
    }
    order = [ref.get("idref") for ref in package.iterfind(".//{*}spine/{*}itemref")]
    return list(dict.fromkeys(items[idref] for idref in order if idref in items))


def _names(archive: Archive, opf: str, package: Any, source: Source) -> dict[str, str]:
    """Return each chapter's name in the table of contents of EPUB 3 or 2."""
    names: dict[str, str] = {}
    for item in package.iterfind(".//{*}manifest/{*}item"):
        place = _member(opf, item.get("href") or "")
        if place not in archive:
            continue
        if "nav" in (item.get("properties") or "").split():
            for link in _parse(archive, place, source).iterfind(".//{*}nav//{*}a"):
                target = _member(place, link.get("href") or "")
                names.setdefault(target, one_line("".join(link.itertext())))
        elif item.get("media-type") == "application/x-dtbncx+xml":
            for point in _parse(archive, place, source).iterfind(".//{*}navPoint"):
                content = point.find("{*}content")
                text = one_line(point.findtext("{*}navLabel/{*}text") or "")
                if content is not None:
                    names.setdefault(_member(place, content.get("src") or ""), text)
    return {name: text for name, text in names.items() if text}


def _member(base: str, href: str) -> str:
    """Return the name of the member that a link within ``base`` leads to.

    A link that leads out of the archive is a name that no member has.
    """
    path = unquote(href.partition("#")[0])
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), path))
