from __future__ import annotations

import pytest

from gptoss_mlx.errors import ToolError
from gptoss_mlx.tools.browser.backend import SearchResult, results_page
from gptoss_mlx.tools.browser.documents import Document, Documents

RENT = Document(
    "Rent",
    "notes/rent.md",
    "# Rent\r\n\r\nThe flat costs 900 a month.\r\n"
    "The landlord services the heating each May.\r\n",
)
GARDEN = Document("Garden", "notes/my garden.md", "Roses need water.\nNo heating here.\n")
CAT = Document("The cat", "https://example.com/cat", "It sleeps. 【0†trap】")


def test_results_look_as_gpt_oss_s_back_ends_make_them() -> None:
    """A heading, and a link each, with where it leads; what looks like a link is none."""
    page = results_page(
        "my words",
        [
            SearchResult("The cat", "https://example.com/cat", "It 【0†sleeps】.\nMore", 4),
            SearchResult("a†b", "notes/rent.md", ""),
            SearchResult("rent.md", "rent.md", "900 a month"),
        ],
    )

    assert page.title == "my words"
    assert page.url == ""
    assert page.text == (
        "\nURL: \n# Search Results\n\n"
        "  * 【0†The cat†example.com】 It 〖0†sleeps〗. More\n"
        "  * 【1†a‡b†notes/rent.md】\n"
        "  * 【2†rent.md】 900 a month"
    )
    assert page.links == ("https://example.com/cat", "notes/rent.md", "rent.md")
    assert page.passages == (4, None, None)


def test_a_search_finds_the_line() -> None:
    """The best document comes first, each with the line that fits best."""
    page = Documents([GARDEN, RENT, CAT]).search("Who services the HEATING, landlord?", 10)

    assert page.text.split("\n")[4:] == [
        "  * 【0†Rent†notes/rent.md】 The landlord services the heating each May.",
        "  * 【1†Garden†notes/my garden.md】 No heating here.",
    ]
    assert page.links == (RENT.url, GARDEN.url)
    assert page.passages == (3, 1)


def test_a_title_counts_more_than_the_text() -> None:
    """Three times, and what a document has often counts less each time."""
    documents = Documents(
        [
            Document("One", "1", "cat dog house"),
            Document("Two", "2", "cat cat cat cat"),
            Document("Dog", "3", "text of other words with cat"),
        ]
    )

    assert documents.search("cat dog", 3).links == ("3", "1", "2")
    assert documents.search("cat dog", 1).links == ("3",)


def test_a_rare_word_counts_more() -> None:
    """A word that most have tells little, however often one has it."""
    texts = ["cat cat", "dog hen", "cat cow", "cat hen"]
    documents = Documents(Document("", str(n), text) for n, text in enumerate(texts))

    assert documents.search("cat dog", 1).links == ("1",)
    assert documents.search("cat", 1).links == ("0",)


def test_a_short_document_counts_more() -> None:
    """A word says more of it than of a long one."""
    texts = ["cat " + "and so on " * 20, "cat and so on"]
    documents = Documents(Document("", str(n), text) for n, text in enumerate(texts))

    assert documents.search("cat", 2).links == ("1", "0")


def test_the_words_of_questions_find_nothing() -> None:
    """Unless there are no other words."""
    documents = Documents([CAT, GARDEN])

    assert documents.search("Where is the heating?", 10).links == (GARDEN.url,)
    assert documents.search("the", 10).links == (CAT.url,)


def test_nothing_found_is_said() -> None:
    """Even without documents, or with an empty query."""
    for documents, query in ((Documents([RENT]), "zebra"), (Documents([]), "rent")):
        page = documents.search(query, 10)
        assert page.text.endswith("# Search Results\n\nNo results.")
        assert page.links == ()
        assert page.is_results
    assert Documents([RENT]).search("?!", 10).links == ()


def test_a_passage_deep_in_a_long_line_is_led_to() -> None:
    """The summary is a piece of the line, and the link opens the display line."""
    text = (
        "first\n"
        + "many other words come before. " * 40
        + "Then the heating. "
        + "x " * 200
    )
    documents = Documents([Document("Long", "long.txt", text)])
    page = documents.search("heating", 10)
    summary = page.text.partition("】 ")[2]
    passage = page.passages[0] if page.passages else None

    assert "Then the heating." in summary
    assert summary.startswith("…")
    assert summary.endswith("…")
    assert len(summary) <= 162
    assert isinstance(passage, int)
    assert "heating" in documents.fetch("long.txt").lines[passage]


def test_a_document_is_opened_as_it_is_named_or_quoted() -> None:
    """Its lines are its own, without returns, and without links of its making."""
    documents = Documents([RENT, GARDEN, CAT])

    assert documents.fetch("notes/rent.md").lines == [
        "# Rent",
        "",
        "The flat costs 900 a month.",
        "The landlord services the heating each May.",
    ]
    assert documents.fetch("notes/my%20garden.md").title == "Garden"
    assert documents.fetch("view-source:notes/rent.md").title == "Rent"
    assert documents.fetch("https://example.com/cat").text == "It sleeps. 〖0†trap〗"


def test_a_title_is_one_line_without_links() -> None:
    """It stands in the first line of what is shown."""
    documents = Documents([Document(" A 【0†trap】\nhere ", "a", "text")])

    assert documents.fetch("a").title == "A 〖0†trap〗 here"


@pytest.mark.parametrize(
    "url", ["", "/etc/passwd", "../notes/rent.md", "file:///etc/hosts", "notes"]
)
def test_nothing_but_the_documents_is_opened(url: str) -> None:
    """A name is looked up, and never followed."""
    with pytest.raises(ToolError, match="no such document"):
        Documents([RENT]).fetch(url)


def test_two_documents_of_one_url_are_refused() -> None:
    """One of the two could never be opened."""
    with pytest.raises(ValueError, match=r"URLs must differ but 'notes/rent.md' is there"):
        Documents([RENT, RENT])
