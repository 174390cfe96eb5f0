"""100 citations, of which a test double has made 50 false."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from evidence import Note
from scripted import Scripted
from small_library import FILES, answer, browse, small_library

from gptoss_mlx.grounding.citations import Citation
from gptoss_mlx.grounding.grounded_conversation import GroundedConversation
from gptoss_mlx.library.index import Hit
from gptoss_mlx.library.library import Library
from gptoss_mlx.library.text import Text
from gptoss_mlx.tokenizer import load_tokenizer

# The search that is made first has cursor 0.
OPENED = (
    browse("open", id="docs/letters/heating.md"),  # 1
    browse("open", id="docs/letters/vertrag.md"),
    browse("open", id="docs/letters/keiyaku.md"),  # 3
    browse("open", id="docs/prices.md"),
    browse("open", id="docs/long.txt"),  # 5
    browse("open", id="docs/log.txt", num_lines=40),
    browse("find", pattern="event 39", cursor=6),  # 7
    browse("open", id="docs/handover.pdf"),
    browse("open", cursor=1, loc=8, num_lines=2),  # 9
    browse("open", id="docs/lease.md"),
    browse("open", id="docs/rules.html"),  # 11
)

LEASE_TEXT = """# Lease of 12 March

## Repairs

The tenant does not pay for repairs above 1,104 euros.
It must never be below -20 degrees in the cellar.
The area is 10² metres. We're paid on the 5th.
They re-sign the contract each May, for 0.3 percent.
See [the price
list](prices.md) about costs.

| floor | first floor |
| --- | --- |
| meters | 3*4 |
"""

RULES = (
    f"<title>Rules</title><p>{'The door is closed at ten at night. ' * 20}"
    f"Dogs are kept on a lead in the yard. {'Bins are emptied on Monday. ' * 20}</p>"
)

HEATING, VERTRAG = "docs/letters/heating.md", "docs/letters/vertrag.md"
KEIYAKU, PRICES = "docs/letters/keiyaku.md", "docs/prices.md"
LEASE, HTML = "docs/lease.md", "docs/rules.html"
LONG, LOG, PDF = "docs/long.txt", "docs/log.txt", "docs/handover.pdf"

TRUE = [
    ("Rent is 900【1†L4】.", HEATING, 5, 5),
    ('It is "due on the third working day"【1†L4】.', HEATING, 5, 5),
    ('"The landlord services the heating each May."【1†L8】', HEATING, 9, 9),
    ("The landlord “services the heating” in May【9†L8】.", HEATING, 9, 9),
    ('It says "the tenant pays for small repairs"【1†L8-L9】.', HEATING, 9, 10),
    ('"pays for … up to 80 in each case"【1†L9】', HEATING, 10, 10),
    ('"Agreements on the side are void"【1†L10-L11】', HEATING, 11, 12),
    ("Under Heating it says so【1†L6-8】.", HEATING, 7, 9),
    ("Both hold【1†L10, L11】.", HEATING, 11, 11),
    ("„Die Heizung wird im Mai gewartet“【2†L2】", VERTRAG, 3, 3),
    ("Er zahlt »Kleine Reparaturen bis 80 Euro«【2†L2-L3】.", VERTRAG, 3, 4),
    ("Es gilt z. B. „im Einzelfall“ nach dem Vertrag【2†L3】.", VERTRAG, 4, 4),
    ("「暖房の点検は毎年五月に家主が行う」【3†L2-L3】", KEIYAKU, 3, 4),
    ("修理は『修理費は八十ユーロまで』とある【3†L4】。", KEIYAKU, 5, 5),
    ("暖房は家主が点検する【３†Ｌ２－Ｌ３】。", KEIYAKU, 3, 4),
    ("The pump costs 340【4†L5】.", PRICES, 6, 6),
    ('The table has "filter | 12"【4†L4】.', PRICES, 5, 5),
    ("The function looks it up【4†L8-L9】.", PRICES, 9, 10),
    ('"The boiler was replaced in 2019"【5†L5】', LONG, 1, 1),
    ('It was done "by a plumber from Leeds"[5†L5-L6].', LONG, 1, 1),
    ("Event 1 was written【6†L0】.", LOG, 1, 1),
    ('"event 40 of the log"【6†L39】', LOG, 40, 40),
    ("Event 39 was found【7†L1】.", LOG, 39, 39),
    ('"event 390 of the log was written"【7†L7】', LOG, 390, 390),
    ("The match is there【7†L0】.", LOG, 39, 39),
    ('"three months of rent"【8†L0】', PDF, 1, 1),
    ('"Keys are returned on the last day."【8†L1】', PDF, 2, 2),
    ('The "meter is read then"【8†L1-L2】.', PDF, 2, 3),
    ("The search shows it【0†L4】.", HEATING, 1, 5),
    ('"The rent is 900 a month"【1†L2-L4】', HEATING, 3, 5),
    ("It says “repairs above 1,104 euros”【10†L4】.", LEASE, 5, 5),
    ("It is never “below −20 degrees”【10†L5】.", LEASE, 6, 6),
    ("The “area is 10² metres”【10†L6】.", LEASE, 7, 7),
    ("“we’re paid on the 5th”【10†L6】", LEASE, 7, 7),
    ("“They re-sign the contract”【10†L7】", LEASE, 8, 8),
    ("It is “0.3 percent”【10†L7】.", LEASE, 8, 8),
    ("“See the price list about costs”【10†L8-L9】", LEASE, 9, 10),
    ("“meters 3*4”【10†L13】", LEASE, 14, 14),
    ("‘The tenant does not pay’【10†L4】", LEASE, 5, 5),
    ("According to the lease【10†L4】: “The tenant does not pay.”", LEASE, 5, 5),
    ("It says “The tenant does not pay【10†L4】.”", LEASE, 5, 5),
    ("“The tenant does not pay.”\n\n— Lease【10†L4】", LEASE, 5, 5),
    ("> The tenant does not pay\n\n【10†L4】", LEASE, 5, 5),
    ("“The tenant does not pay” (lease. page 3)【10†L4】", LEASE, 5, 5),
    ("<q>The tenant does not pay</q>【10†L4】", LEASE, 5, 5),
    ("By the “Lease of 12 March”, “the tenant does not pay”【10†L4】", LEASE, 5, 5),
    ("By the “Lease of 12 March”, under “Repairs”, 1,104【10†L4】", LEASE, 5, 5),
    ("“They re-sign […] for 0.3 percent”【10†L7】", LEASE, 8, 8),
    ("“Dogs are kept on a lead”【11†L8】", HTML, 1, 1),
    ('修理は"修理費は八十ユーロまで"とある【3†L4】。', KEIYAKU, 5, 5),
]

FALSE = [
    ("Rent is 900【9†L4】.", "line 4 was not shown"),
    ('It is "due on the third working day"【1†L3】.', "these lines are empty"),
    ('"The landlord services the heating each May."【1†L9】', "quoted words"),
    ("The landlord “services the boiler” in May【9†L8】.", "quoted words"),
    ('It says "the tenant pays for large repairs"【1†L8-L9】.', "quoted words"),
    ('"pays for … up to 90 in each case"【1†L9】', "quoted words"),
    ('"Agreements on the side are valid"【1†L10-L11】', "quoted words"),
    ("Under Heating it says so【1†L6-12】.", "line 12 was not shown"),
    ("Both hold【12†L10, L11】.", "cursor 12 was not opened in this turn"),
    ("„Die Heizung wird im März gewartet“【2†L2】", "quoted words"),
    ("Er zahlt »Kleine Reparaturen bis 80 Euro«【3†L2-L3】.", "quoted words"),
    ("Es gilt z. B. „im Einzelfall“ nach dem Vertrag【2†L2】.", "quoted words"),
    ("「暖房の点検は毎年六月に家主が行う」【3†L2-L3】", "quoted words"),
    ("修理は『修理費は八十ユーロまで』とある【3†L3】。", "quoted words"),
    ("暖房は家主が点検する【３†Ｌ２－Ｌ９】。", "line 5 was not shown"),
    ("The pump costs 340【4†L99】.", "line 99 was not shown"),
    ('The table has "filter | 13"【4†L4】.', "quoted words"),
    ("The function looks it up【4】.", "it names no lines"),
    ('"The boiler was replaced in 2018"【5†L5】', "quoted words"),
    ('It was done "by a plumber from Leeds"[6†L5-L6].', "quoted words"),
    ("Event 1 was written【99†L0】.", "cursor 99 was not opened in this turn"),
    ('"event 41 of the log"【6†L40】', "line 40 was not shown"),
    ("Event 39 was found【7†L70】.", "line 70 was not shown"),
    ('"event 391 of the log was written"【7†L7】', "quoted words"),
    ("It says nothing【7†L5】.", "its lines are of no document"),
    ('"four months of rent"【8†L0】', "quoted words"),
    ('"Keys are returned on the first day."【8†L1】', "quoted words"),
    ('The "meter is read then"【8†source】.', "it names no lines"),
    ("The search shows it【0†L2】.", "its lines are of no document"),
    ("CHANGED The rent is 900【1†L4】.", "the document has changed"),
    ("It says “repairs above 1”【10†L4】.", "quoted words"),
    ("It is “20 degrees in the cellar”【10†L5】.", "quoted words"),
    ("The “area is 102 metres”【10†L6】.", "quoted words"),
    ("“were paid on the 5th”【10†L6】", "quoted words"),
    ("“They resign the contract”【10†L7】", "quoted words"),
    ("It is “3 percent”【10†L7】.", "quoted words"),
    ("“See the price tag about costs”【10†L8-L9】", "quoted words"),
    ("“meters 34”【10†L13】", "quoted words"),
    ("‘The tenant does always pay’【10†L4】", "quoted words"),
    ("According to the lease【10†L4】: “The tenant does always pay.”", "quoted words"),
    ("It says “The tenant does always pay【10†L4】.”", "quoted words"),
    ("“The tenant does always pay.”\n\n— Lease【10†L4】", "quoted words"),
    ("> The tenant does always pay\n\n【10†L4】", "quoted words"),
    ("“The tenant does always pay” (lease. page 3)【10†L4】", "quoted words"),
    ("<q>The tenant does always pay</q>【10†L4】", "quoted words"),
    ("By the “Lease of 12 March”, “the tenant does pay”【10†L4】", "quoted words"),
    ("By the “Lease of 13 March”, under “Repairs”, 1,104【10†L4】", "quoted words"),
    ("“The tenant does … pay for repairs above 1,104”【10†L4】", "quoted words"),
    ("“Dogs are kept on a lead”【11†L2】", "quoted words"),
    ('修理は"修理費は九十ユーロまで"とある【3†L4】。', "quoted words"),
]


@dataclass
class Changing:
    """A library in which a document may change after it was opened."""

    library: Library
    changes: bool
    read: int = 0

    @property
    def roots(self) -> Sequence[Path]:
        """Its folders."""
        return self.library.roots

    def search(self, query: str, limit: int = 10) -> list[Hit]:
        """Search as it does."""
        return self.library.search(query, limit)

    def path_of(self, name: str) -> Path:
        """Return where a document lies."""
        return self.library.path_of(name)

    def linked(self, name: str, target: str) -> str | None:
        """Follow a link as it does."""
        return self.library.linked(name, target)

    def text(self, name: str) -> Text:
        """Return a document; the letter has another line when it is read again."""
        text = self.library.text(name)
        if not self.changes or name != HEATING:
            return text
        self.read += 1
        if self.read == 1:
            return text
        lines = [line.replace("900", "950") for line in text.lines]
        return replace(text, lines=tuple(lines))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """The documents."""
    files = {**FILES, "lease.md": LEASE_TEXT, "rules.html": RULES}
    with small_library(tmp_path_factory.mktemp("library") / "docs", files) as made:
        yield made


def cites(library: Library, text: str) -> Citation:
    """What an answer cites, after all of the pages were opened."""
    source = Scripted(*OPENED, answer(text))
    changing = Changing(library, changes=text.startswith("CHANGED"))
    chat = GroundedConversation(source, load_tokenizer(), library=changing)
    return chat.ask("Who services the heating?").citations[0]


def test_half_of_the_citations_are_false() -> None:
    """As many as the other half."""
    assert len(TRUE) == len(FALSE) == 50


@pytest.mark.parametrize(("text", "document", "first", "last"), TRUE)
def test_a_true_citation_is_verified(
    text: str, document: str, first: int, last: int, library: Library, note: Note
) -> None:
    """It has the document's own lines, and their text."""
    citation = cites(library, text)

    assert citation.problem is None
    assert citation.verified
    assert (citation.document, citation.first_line, citation.last_line) == (
        document,
        first,
        last,
    )
    assert citation.path == library.path_of(document)
    if document == PDF:
        assert citation.page == (1 if first == 1 else 2)
    lines = library.text(document).lines[first - 1 : last]
    assert citation.quote.strip("…") in "\n".join(lines)
    note("citations", 1)


@pytest.mark.parametrize(("text", "problem"), FALSE)
def test_a_false_citation_is_not(
    text: str, problem: str, library: Library, note: Note
) -> None:
    """It says what is wrong with it."""
    citation = cites(library, text)

    assert not citation.verified
    assert problem in (citation.problem or "")
    note("citations", 1)


@pytest.mark.parametrize(
    "text",
    [
        '"See the letter and"【4†L12】',
        '"See [the letter](letters/heating.md) and"【4†L12】',
        '"the letter and"【12†L1】',
        "A site is named【4†L11-L12】.",
    ],
)
def test_a_line_with_links_is_quoted_as_shown_or_as_it_is(
    text: str, library: Library
) -> None:
    """The model sees the words of a link, and the file has more."""
    source = Scripted(
        *OPENED, browse("find", pattern="the letter and", cursor=4), answer(text)
    )
    chat = GroundedConversation(source, load_tokenizer(), library=library)
    citation = chat.ask("Who services the heating?").citations[0]

    assert citation.problem is None
    assert (citation.document, citation.last_line) == (PRICES, 13)
    assert citation.quote.startswith("See [the letter](letters/heating.md)")


def test_a_wrong_word_in_a_line_with_links_is_noticed(library: Library) -> None:
    """As in others."""
    assert cites(library, '"See the note and"【4†L12】').problem is not None


@pytest.mark.parametrize(
    "text",
    [
        "“Dogs are kept on a lead in the yard”【2†L1】",
        "“Dogs are kept on a lead in the yard”【2†L2】",
        "“Dogs are kept on a lead in the yard”【1†L7-L10】",
    ],
)
def test_the_source_shows_what_is_quoted_of_a_long_line(
    text: str, library: Library
) -> None:
    """Also where the lines of a find's result cut it."""
    source = Scripted(
        browse("open", id=HTML), browse("find", pattern="lead in", cursor=1), answer(text)
    )
    chat = GroundedConversation(source, load_tokenizer(), library=library)
    found = chat.ask("Who services the heating?")

    assert found.citations[0].problem is None
    assert "Dogs are kept on a lead in the yard" in str(found).partition("Sources:")[2]


def test_in_a_row_those_hold_that_have_the_words(library: Library) -> None:
    """The others say that they have not."""
    source = Scripted(*OPENED, answer("“the tenant does not pay”【10†L5】【10†L4】"))
    chat = GroundedConversation(source, load_tokenizer(), library=library)
    found = chat.ask("Who services the heating?")

    assert found.text.endswith("[1?][2]")
    assert [each.verified for each in found.citations] == [False, True]


def test_what_the_model_types_is_no_citation(library: Library) -> None:
    """Nor a list of sources that it writes itself."""
    text = "Free [1].\n\nSources:\n[1] a.md:1 “Free”\n\nRent is 900【1†L4】."
    source = Scripted(*OPENED, answer(text))
    chat = GroundedConversation(source, load_tokenizer(), library=library)

    assert chat.ask("Who services the heating?").text == (
        "Free (1).\n\nSources (the model's):\n(1) a.md:1 “Free”\n\nRent is 900[1]."
    )
