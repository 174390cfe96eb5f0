from __future__ import annotations

import random
from collections.abc import Generator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_library import browse, small_library

from gptoss_mlx.conversation.turn_events import ToolResult, TurnEnd, TurnEvent
from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.errors import DeviceError
from gptoss_mlx.grounding.citations import CitationChecker
from gptoss_mlx.grounding.cited_text import CitedText, cited
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.library.library import Library
from gptoss_mlx.tools.browser.library_pages import LibraryPages
from gptoss_mlx.tools.browser.tool import Browser


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """The documents."""
    with small_library(tmp_path_factory.mktemp("library") / "docs") as made:
        yield made


@pytest.fixture
def checker(library: Library) -> CitationChecker:
    """A turn in which the letter is open under cursor 0."""
    return checker_of(library)


def checker_of(library: Library) -> CitationChecker:
    """Begin a turn, and open the letter."""
    pages = LibraryPages(library)
    browser = Browser(pages)
    made = CitationChecker(library, pages, browser)
    browser.process(browse("open", id="docs/letters/heating.md")[1])
    made.note_result(shown=True)
    return made


CASES = {
    "none": ("Plain [text], 【注】 and [1](x).", "Plain [text], 【注】 and [1](x)."),
    "one": ("Rent is 900【0†L4】.", "Rent is 900[1]."),
    "same lines": ("A【0†L4】 B【0†L4】 C[0†L4].", "A[1] B[1] C[1]."),
    "other lines": ("A【0†L4】 B【0†L8】.", "A[1] B[2]."),
    "two ranges": ("A【0†L4, L8】.", "A[1][2]."),
    "a row": (
        'It "services the heating"【0†L4】【0†L8】',
        'It "services the heating"[1?][2]',
    ),
    "two quotations": (
        '"services the heating"【0†L8】 and "rent is 900"【0†L4】',
        '"services the heating"[1] and "rent is 900"[2]',
    ),
    "not opened": ("A【7†L4】.", "A[1?]."),
    "number alone": ("【3】 stays, 【0】 is one.", "【3】 stays, [1?] is one."),
    "code": ("```\n【0†L4】\n```\nA【0†L4】", "```\n【0†L4】\n```\nA[1]"),
    "cut": ("The end 【0†L4", "The end 【0†L4"),
    "wrong words": ('"services the boiler"【0†L8】', '"services the boiler"[1?]'),
}


@pytest.mark.parametrize("name", CASES)
def test_markers_become_numbers_however_they_are_cut(
    name: str, checker: CitationChecker
) -> None:
    """In one piece, character by character, and in random pieces."""
    text, shown = CASES[name]
    drawn = random.Random(name)
    for cuts in ([], range(len(text)), drawn.sample(range(len(text)), 5)):
        ends = [*sorted(cuts), len(text)]
        writer = CitedText(checker)
        pieces = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        assert "".join([*map(writer.push, pieces), writer.finish()]) == shown
        checker.citations.clear()
        checker._by_place.clear()


PIECES = st.sampled_from(
    [
        *(
            "【0†L4】",
            "【0†L8】",
            "【0†L4",
            "[0†L8]",
            "[1]",
            "[2?]",
            "\\[1\\]",
            "[1](x)",
            "`",
        ),
        *("“", "”", '"', "'", "‘", "’", "> ", "\n", "\n\n", ": ", ". ", ".", " ", "— "),
        *("services the heating", "rent is 900", "The tenant", "Sources", "```", "…"),
    ]
)


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.lists(PIECES, max_size=14).map("".join), st.randoms())
def test_an_answer_is_the_same_however_it_comes(
    library: Library, text: str, drawn: random.Random
) -> None:
    """A citation is checked against the same words; 600 characters are never reached."""
    shown = []
    for cuts in ([], range(len(text)), drawn.sample(range(len(text)), len(text) // 3)):
        writer = CitedText(checker_of(library))
        ends = [*sorted(cuts), len(text)]
        pieces = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        shown.append("".join([*map(writer.push, pieces), writer.finish()]))

    assert shown[0] == shown[1] == shown[2]


def test_no_more_is_held_back_than_a_possible_marker(checker: CitationChecker) -> None:
    """What cannot be one is shown with the piece that decides."""
    writer = CitedText(checker)
    shown = [writer.push(piece) for piece in ["See [", "the", " 【", "0†L4", "】", "."]]

    assert shown == ["See ", "[the", " ", "", "", "[1]."]


def delta(text: str, channel: str = "final", index: int = 0) -> Delta:
    """A piece that the model writes."""
    return Delta(channel, text, None, "assistant", index)


def played(events: list[TurnEvent], error: Exception | None = None) -> Generator[TurnEvent]:
    """A turn with these events."""
    yield from events
    if error is not None:
        raise error


def test_only_what_is_for_the_user_is_rewritten(checker: CitationChecker) -> None:
    """Reasoning and calls keep their markers; a message's end shows what was held back."""
    events: list[TurnEvent] = [
        delta("think 【0†L4】", "analysis"),
        delta("A 【0†L4", "commentary", 1),
        delta("B【0†L4】", "final", 2),
        TurnEnd("stop", Usage()),
    ]
    shown = list(cited(played(events), checker))

    texts = [event.text for event in shown if isinstance(event, Delta)]
    assert texts == ["think 【0†L4】", "A ", "【0†L4", "B", "[1]"]
    assert isinstance(shown[-1], TurnEnd)


def test_what_was_held_back_is_shown_before_an_error(checker: CitationChecker) -> None:
    """As much of an answer as there is."""
    texts: list[str] = []
    turn = cited(played([delta("A [0†L4")], DeviceError("It broke.")), checker)
    with pytest.raises(DeviceError):
        texts.extend(event.text for event in turn if isinstance(event, Delta))

    assert "".join(texts) == "A [0†L4"


def test_a_result_that_the_model_was_not_shown_cannot_be_cited(
    library: Library,
) -> None:
    """As where the context had no room for it."""
    pages = LibraryPages(library)
    browser = Browser(pages)
    checker = CitationChecker(library, pages, browser)
    call = browse("open", id="docs/letters/heating.md")[1]

    def turn() -> Generator[TurnEvent]:
        browser.process(call)
        yield ToolResult(call, Message("tool", "Error: no room"), refused=True)
        yield delta("Rent is 900【0†L4】.")

    texts = [e.text for e in cited(turn(), checker) if isinstance(e, Delta)]
    assert "".join(texts) == "Rent is 900[1?]."
