from __future__ import annotations

from gptoss_mlx.tools.browser.find import MAX_HITS, find_in_page
from gptoss_mlx.tools.browser.page import Page


def test_a_hit_shows_four_lines_and_leads_to_its_own() -> None:
    """In upper or lower case; lines that are already shown are not hits of their own."""
    page = Page("a.txt", "A", "\n".join(["one", "TWO two", "Two", "x", "y", "z", "two"]))
    found = find_in_page("tWo", page)

    assert found.text == (
        "# 【0†match at L1】\nTWO two\nTwo\nx\ny\n\n# 【1†match at L6】\ntwo"
    )
    assert found.title == "Find results for text: `two` in `A`"
    assert found.url == "a.txt/find?pattern=two"
    assert found.links == ("a.txt", "a.txt")
    assert found.passages == (1, 6)
    assert found.is_results


def test_a_pattern_is_literal() -> None:
    """It is no regular expression, and may hold anything."""
    page = Page("a.txt", "A", "1 + 1\n(.*)")

    assert find_in_page("(.*)", page).passages == (1,)
    assert find_in_page("1.+.1", page).passages == ()
    assert find_in_page("1.+.1", page).text == "No `find` results for pattern: `1.+.1`"


def test_no_more_hits_than_fifty() -> None:
    """The first fifty are shown."""
    found = find_in_page("x", Page("a.txt", "A", "x\n" * 1_000))

    assert found.passages == tuple(range(0, 4 * MAX_HITS, 4))


def test_a_link_is_found_by_its_text() -> None:
    """Neither its number nor its domain is text."""
    page = Page("a.txt", "A", "see 【7†the lease†example.com】 here", ("b",) * 8)

    assert find_in_page("see the lease here", page).passages == (0,)
    assert find_in_page("example", page).passages == ()
    assert find_in_page("7", page).passages == ()


def test_a_link_over_two_lines_shifts_no_line() -> None:
    """gpt-oss's browser loses a line where one broke in a domain."""
    words = "w" * 55
    page = Page(
        "a.txt",
        "A",
        f"{words} 【0†a lease†very-long-domain.example】\n{'w' * 78}【1†x】\nlast",
    )
    assert [line[:8] for line in page.lines] == [
        "w" * 8,
        "domain.e",
        "w" * 8,
        "†x】",
        "last",
    ]

    assert find_in_page("last", page).passages == (4,)
    assert find_in_page("a lease", page).passages == (0,)
