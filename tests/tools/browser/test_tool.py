from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_mlx.errors import StorageError, ToolError
from gptoss_mlx.harmony.builtin_tools import BROWSER
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.browser.backend import SearchResult, results_page
from gptoss_mlx.tools.browser.documents import Document, Documents
from gptoss_mlx.tools.browser.page import Page
from gptoss_mlx.tools.browser.tool import Browser

many = settings(max_examples=500, deadline=None, database=None)

DOCUMENTS = Documents(
    [
        Document("Rent", "rent.md", "The landlord services the heating.\n" * 30),
        Document("Long", "long.txt", "\n".join(f"line {n}" for n in range(50_000))),
        *(Document(f"Roses {n}", f"{n}.txt", "roses " * n) for n in range(1, 31)),
    ]
)


def run(browser: Browser, function: str, content: str | dict[str, Any]) -> str:
    """What the browser answers to a call."""
    text = content if isinstance(content, str) else json.dumps(content)
    return browser.process(Message("assistant", text, recipient=function))


def test_the_model_is_told_of_the_tool_as_it_was_trained() -> None:
    """Name and text are gpt-oss's own."""
    assert Browser(DOCUMENTS).instruction is BROWSER
    assert Browser(DOCUMENTS).name == "browser"


def test_a_search_is_opened_and_cited() -> None:
    """Each cursor keeps its page and the lines shown, to check citations."""
    browser = Browser(DOCUMENTS)
    first = run(browser, "browser.search", {"query": "landlord"})
    second = run(browser, "browser.open", {"id": 0, "loc": 2, "num_lines": 2})

    assert first == (
        "[0] landlord\n**viewing lines [0 - 4] of 4**\n\n"
        "L0: \nL1: URL: \nL2: # Search Results\nL3: \n"
        "L4:   * 【0†Rent†rent.md】 The landlord services the heating."
    )
    assert second == (
        "[1] Rent (rent.md)\n**viewing lines [2 - 3] of 29**\n\n"
        "L2: The landlord services the heating.\nL3: The landlord services the heating."
    )
    assert [(v.page.url, v.first, v.end) for v in browser.views] == [
        ("", 0, 5),
        ("rent.md", 2, 4),
    ]
    assert browser.views[1].page.source_line(2) == 3


def test_a_view_has_1024_tokens() -> None:
    """The line in which they run out is the last one; the next view begins behind it."""
    browser = Browser(DOCUMENTS)
    shown = run(browser, "browser.open", {"id": "long.txt"})
    body = shown.partition("\n\n")[2]
    without_last = body.rpartition("\n")[0]
    encode = load_tokenizer().encode

    assert len(encode(without_last)) <= 1_024 < len(encode(f"{body}\n"))
    end = browser.views[0].end
    assert shown.startswith(
        f"[0] Long (long.txt)\n**viewing lines [0 - {end - 1}] of 49999**"
    )
    assert f"\nL{end}: " in run(browser, "browser.open", {"loc": end})


def test_a_view_has_8192_tokens_whatever_is_asked_for() -> None:
    """Otherwise one call could fill the context; 2,000 lines show no more than 50,000."""
    browser = Browser(DOCUMENTS)
    shown = run(browser, "browser.open", {"id": "long.txt", "num_lines": 50_000})

    assert 8_000 < len(load_tokenizer().encode(shown)) < 8_300
    assert run(browser, "browser.open", {"num_lines": 300}).endswith("\nL299: line 299")


def test_a_search_shows_as_many_results_as_were_asked_for() -> None:
    """10 unless asked otherwise, 20 at most; models also write ``top_n``."""
    browser = Browser(DOCUMENTS)
    for arguments, expected in (
        ({}, 10),
        ({"topn": 3}, 3),
        ({"top_n": 4}, 4),
        ({"topn": 4.0}, 4),
        ({"topn": 99}, 20),
        ({"topn": 0}, 1),
        ({"topn": None}, 10),
    ):
        run(browser, "browser.search", {"query": "roses", **arguments})
        assert len(browser.views[-1].page.links) == expected


def test_an_old_search_is_still_the_one_it_was() -> None:
    """gpt-oss's browser opens the newer one's link, for both have no URL."""
    browser = Browser(DOCUMENTS)
    run(browser, "browser.search", {"query": "landlord"})
    run(browser, "browser.search", {"query": "roses"})

    assert run(browser, "browser.open", {"cursor": 0, "id": 0}).startswith("[2] Rent ")


def test_a_call_that_fails_leaves_the_cursors_alone() -> None:
    """The next page that is shown has the next number."""
    browser = Browser(DOCUMENTS)
    run(browser, "browser.open", {"id": "rent.md"})
    for arguments in ({"id": "gone"}, {"loc": 99}, {"id": 9}, {"cursor": 4}):
        with pytest.raises(ToolError):
            run(browser, "browser.open", arguments)

    assert run(browser, "browser.open", {}).startswith("[1] Rent ")


def test_conversations_know_nothing_of_each_other() -> None:
    """Each browser has its own cursors, though the back end is one."""
    run(Browser(DOCUMENTS), "browser.open", {"id": "rent.md"})

    with pytest.raises(ToolError, match="No pages to access!"):
        run(Browser(DOCUMENTS), "browser.open", {})


def test_a_call_through_functions_is_understood() -> None:
    """Models write ``functions.browser.open``: the last word says what is wanted."""
    shown = run(Browser(DOCUMENTS), "functions.browser.open", {"id": "rent.md"})

    assert shown.startswith("[0] Rent ")


@pytest.mark.parametrize(
    ("function", "content", "message"),
    [
        ("browser.search", "", "browser.search requires `query`, which is missing."),
        ("browser.find", "{}", "browser.find requires `pattern`, which is missing."),
        ("browser.find", '{"pattern": null}', "browser.find requires `pattern`, which"),
        ("browser.open", "rent.md", "The arguments must be JSON: Expecting value"),
        ("browser.open", "[" * 100_000, "The arguments must be JSON: "),
        ("browser.open", '{"loc": ' + "9" * 5_000 + "}", "The arguments must be JSON: "),
        (
            "browser.open",
            '["rent.md"]',
            "The arguments must be a JSON object but are a list.",
        ),
        ("browser.open", "3", "The arguments must be a JSON object but are the number 3."),
        ("browser.open", "null", "The arguments must be a JSON object but are null."),
        (
            "browser.open",
            '{"url": "rent.md"}',
            "There is no argument 'url'. The arguments of browser.open are: id, cursor, "
            "loc, num_lines, view_source, source.",
        ),
        ("browser.open", '{"top_n": 3}', "There is no argument 'top_n'."),
        (
            "browser.open",
            '{"loc": "3"}',
            '`loc` should be a whole number, not the string "3".',
        ),
        (
            "browser.open",
            '{"loc": 1.5}',
            "`loc` should be a whole number, not the number 1.5.",
        ),
        (
            "browser.open",
            '{"loc": NaN}',
            "`loc` should be a whole number, not the number nan.",
        ),
        ("browser.open", '{"loc": true}', "`loc` should be a whole number, not true."),
        (
            "browser.open",
            '{"cursor": {}}',
            "`cursor` should be a whole number, not an object.",
        ),
        ("browser.open", '{"id": []}', "`id` should be a whole number, not a list."),
        (
            "browser.open",
            '{"view_source": "yes"}',
            "`view_source` should be true or false,",
        ),
        ("browser.search", '{"query": ["a"]}', "`query` should be a string, not a list."),
        ("browser.search", '{"query": true}', "`query` should be a string, not true."),
        (
            "browser.open",
            '{"id": "gone.md"}',
            "Error fetching URL `gone.md`: There is no such document. Use browser.search "
            "to find one.",
        ),
        (
            "browser.click",
            "{}",
            "There is no function 'click'. There are: browser.search, ",
        ),
        ("browser", "{}", "There is no function 'browser'. There are: browser.search, "),
    ],
)
def test_a_malformed_call_is_told_what_is_wrong(
    function: str, content: str, message: str
) -> None:
    """The text helps to correct the call."""
    with pytest.raises(ToolError) as caught:
        run(Browser(DOCUMENTS), function, content)

    assert str(caught.value).startswith(message)


class Remembering:
    """A back end whose pages are others each time; it keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def search(self, query: str, topn: int) -> Page:
        """Find one page."""
        return results_page(query, [SearchResult("News", "news", "")])

    def fetch(self, url: str) -> Page:
        """Return another text each time."""
        self.asked.append(url)
        return Page("news", "News", f"Issue {len(self.asked)}")


def test_a_link_leads_to_the_page_as_it_was_read() -> None:
    """Only a URL fetches it anew, or its source; a scroll never does."""
    backend = Remembering()
    browser = Browser(backend)
    run(browser, "browser.search", {"query": "news"})

    for arguments, issue in (
        ({"id": 0}, 1),
        ({"id": 0, "cursor": 0}, 1),
        ({"id": "news"}, 2),
        ({"id": 0, "cursor": 0}, 2),
        ({"cursor": 1}, 1),
        ({"view_source": True}, 3),
    ):
        shown = run(browser, "browser.open", arguments)
        assert shown.endswith(f"L0: Issue {issue}")
    assert backend.asked == ["news", "news", "view-source:news"]


def test_a_back_end_is_asked_in_whole_characters() -> None:
    """A surrogate alone is in no file's name, and databases refuse it."""
    backend = Remembering()
    run(Browser(backend), "browser.open", '{"id": "a\\ud800"}')

    assert backend.asked == ["a\ufffd"]


class Broken:
    """A back end whose disk fails."""

    def search(self, query: str, topn: int) -> Page:
        """Fail."""
        raise StorageError("index.db: Input/output error.")

    def fetch(self, url: str) -> Page:
        """Fail at length."""
        raise StorageError("x" * 5_000)


def test_what_a_back_end_raises_is_shown_to_the_model() -> None:
    """Shortened, so that it cannot fill the context."""
    with pytest.raises(ToolError) as caught:
        run(Browser(Broken()), "browser.search", {"query": "a"})
    assert str(caught.value) == "Error during search for `a`: index.db: Input/output error."

    with pytest.raises(ToolError) as caught:
        run(Browser(Broken()), "browser.open", {"id": "y" * 5_000})
    assert str(caught.value) == (f"Error fetching URL `{'y' * 1_021}...`: {'x' * 1_021}...")


def test_half_a_character_is_none() -> None:
    """JSON can spell a surrogate alone, which nobody could print."""
    shown = run(Browser(DOCUMENTS), "browser.search", '{"query": "a\\ud800"}')

    assert shown.startswith("[0] a\ufffd\n")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=5,
)
names = st.sampled_from(
    ["query", "topn", "top_n", "source", "id", "cursor", "loc", "num_lines", "pattern"]
)
likely = (
    st.integers(-3, 40)
    | st.sampled_from(["rent.md", "long.txt", "\ud83d", 2.0])
    | json_values
)


@many
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["search", "open", "find"]) | st.text(max_size=4),
            st.dictionaries(names, likely, max_size=4).map(json.dumps)
            | json_values.map(json.dumps)
            | st.text(max_size=12),
        ),
        max_size=6,
    )
)
def test_no_call_raises_anything_else(calls: list[tuple[str, str]]) -> None:
    """For any call, the model gets a text that can be printed and encoded."""
    browser = Browser(DOCUMENTS)
    run(browser, "browser.open", {"id": "rent.md"})
    for function, content in calls:
        try:
            text = run(browser, f"browser.{function}", content)
        except ToolError as error:
            text = str(error)
        assert text.encode()


def test_a_page_of_50000_lines_opens_within_a_second() -> None:
    """Also at its end, and with results of a find."""
    text = "\n".join(f"line {n} of a long text" for n in range(50_000))
    browser = Browser(Documents([Document("Long", "long.txt", text)]))
    run(browser, "browser.search", {"query": "nothing"})
    began = time.perf_counter()
    run(browser, "browser.open", {"id": "long.txt"})
    shown = run(browser, "browser.open", {"loc": 49_999})
    found = run(browser, "browser.find", {"pattern": "line 49999"})

    assert time.perf_counter() - began < 1
    assert shown.endswith("L49999: line 49999 of a long text")
    assert "match at L49999" in found
