"""Finds a text in a page: the matching lines, as a page of their own.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/simple_browser/simple_browser_tool.py
"""

from __future__ import annotations

import re
from urllib.parse import quote

from gptoss_mlx.tools.browser.page import Origin, Page

__all__ = ["MAX_HITS", "find_in_page"]

MAX_HITS = 50
HIT_LINES = 4

_LINK = re.compile(r"【\d+†([^†】]+)((?:†[^†】]+)?】)")


def find_in_page(pattern: str, page: Page) -> Page:
    """Find ``pattern`` literally in the display lines, ignoring case."""
    pattern = pattern.lower()
    lines = _without_links("\n".join(page.lines)).split("\n")
    hits: list[int] = []
    line = 0
    while line < len(lines) and len(hits) < MAX_HITS:
        if pattern in lines[line].lower():
            hits.append(line)
            line += HIT_LINES
        else:
            line += 1
    found: list[str] = []
    origins: list[Origin | None] = []
    for id, hit in enumerate(hits):
        shown = range(hit, min(hit + HIT_LINES, len(lines)))
        if found:
            found.append("")
            origins.append(None)
        found += [f"# 【{id}†match at L{hit}】", *(lines[line] for line in shown)]
        origins += [_origin(page, line) for line in (hit, *shown)]
    return Page(
        url=f"{page.url}/find?pattern={quote(pattern)}",
        title=f"Find results for text: `{pattern}` in `{page.title}`",
        text="\n".join(found) or f"No `find` results for pattern: `{pattern}`",
        links=(page.url,) * len(hits),
        passages=tuple(hits),
        origins=tuple(origins) or (None,),
    )


def _origin(page: Page, display_line: int) -> Origin:
    line = page.source_line(display_line)
    return Origin(page.url, line, line)


def _without_links(text: str) -> str:
    """Replace links by their text, and keep line breaks."""
    return _LINK.sub(
        lambda link: link[1] + "\n" * link[2].count("\n"),
        text,
    )
