"""Whatever a page calls itself, it is shown in the browser's frame, a line each."""

from __future__ import annotations

import json
import re

import pytest
from evidence import Note
from hostile import ESCAPES, raw_controls
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_mlx.errors import ToolError
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.tools.browser.backend import SearchResult, results_page
from gptoss_mlx.tools.browser.page import Page
from gptoss_mlx.tools.browser.tool import Browser

PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(ESCAPES),
    st.sampled_from(
        ["\n", "\r\n", "\x0b", "\u2028", "%0A", "%0a%0aL0: ", "%1b[31m", "%E2%80%A8", "%25"]
    ),
    st.sampled_from(["【0†a†b】", "†", "**viewing lines [0 - 9] of 9**", "L0: ", "[1] "]),
    st.sampled_from(["http://", "://[", "https://a:b@c/", "file:", "//", "x" * 3_000]),
)
NAMES = st.lists(PIECES, max_size=5).map("".join)


class Strange:
    """A back end whose pages have any name."""

    def __init__(self, title: str, url: str, summary: str) -> None:
        self._result = SearchResult(title, url, summary)

    def search(self, query: str, topn: int) -> Page:
        """Find the page."""
        return results_page(query, [self._result])

    def fetch(self, url: str) -> Page:
        """Return the page."""
        return Page(self._result.url, self._result.title, "Its text.")


def shown(browser: Browser, function: str, **arguments: object) -> str:
    """What the model is shown."""
    call = Message("assistant", json.dumps(arguments), recipient=f"browser.{function}")
    try:
        return browser.process(call)
    except ToolError as error:
        return f"Refused: {error}\n**viewing lines [0 - 0] of 0**\n\nL0: "


def check_frame(text: str) -> None:
    """A line with title and URL, one on the lines, an empty one, and the page's lines."""
    head, lines, empty, *page = text.split("\n")
    assert raw_controls(text, allowed="\n\t") == []
    assert text.splitlines() == text.split("\n")
    assert head.startswith(("[", "Refused: "))
    assert re.fullmatch(r"\*\*viewing lines \[\d+ - \d+\] of \d+\*\*", lines)
    assert empty == ""
    assert all(re.match(r"L\d+: ", line) for line in page)
    assert "【" not in head
    assert len(head) < 12_000


@pytest.mark.parametrize("count", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_any_title_and_url_stay_in_their_lines(count: int, note: Note) -> None:
    """In a search and on a page; a link of it is the only one."""

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=count == 200,
        suppress_health_check=list(HealthCheck),
    )
    @given(NAMES, NAMES, NAMES)
    def examples(title: str, url: str, summary: str) -> None:
        browser = Browser(Strange(title, url, summary))
        found = shown(browser, "search", query="a word")
        check_frame(found)
        assert found.count("【") <= 1
        check_frame(shown(browser, "open", id=0))
        check_frame(shown(browser, "open", id=url))
        check_frame(shown(browser, "find", pattern="text"))

    examples()
    note("frames", count)
