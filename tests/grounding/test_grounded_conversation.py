from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from scripted import Scripted, turn
from small_library import answer, browse, small_library

from gptoss_mlx.conversation.turn_events import ToolCall
from gptoss_mlx.errors import ContextError
from gptoss_mlx.grounding.grounded_conversation import GroundedConversation
from gptoss_mlx.library.library import Library
from gptoss_mlx.llm import LLM
from gptoss_mlx.tokenizer import load_tokenizer
from gptoss_mlx.tools.browser.documents import Documents
from gptoss_mlx.tools.browser.tool import Browser

HEATING = "docs/letters/heating.md"
QUESTION = "Who services the heating?"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """The documents."""
    with small_library(tmp_path_factory.mktemp("library") / "docs") as made:
        yield made


def grounded(source: Scripted, library: Library | None) -> GroundedConversation:
    """A conversation with the documents."""
    return GroundedConversation(source, load_tokenizer(), library=library)


def test_an_answer_has_its_citations_and_passages(library: Library) -> None:
    """The text is what the user sees; the messages keep what the model wrote."""
    source = Scripted(browse("open", id=0), answer("In May【1†L8】, 950【9†L4】."))
    found = grounded(source, library).ask(QUESTION)

    assert found.text == found.answer == "In May[1], 950[2?]."
    assert found.messages[-1].text == "In May【1†L8】, 950【9†L4】."
    assert [each.verified for each in found.citations] == [True, False]
    assert found.is_verified
    assert found.passages[0].name == HEATING
    assert str(found) == (
        "In May[1], 950[2?].\n\nSources:\n"
        f"[1] {HEATING}:9  “The landlord services the heating each May. The tenant”\n"
        "[2?]  unverified: cursor 9 was not opened in this turn"
    )


def test_a_second_turn_is_searched_for_again(library: Library) -> None:
    """The first turn's pages are gone from the prompt, and are not cited any more."""
    source = Scripted(
        browse("open", id=0),
        answer("In May【1†L8】."),
        answer("900【2†L4-L5】, as in【1†L8】."),
        remembers=True,
    )
    chat = grounded(source, library)
    chat.ask(QUESTION)
    second = chat.ask("How much is the rent?")
    prompt = source.prompts[-1]

    assert second.text == "900[1], as in[2?]."
    assert second.citations[0].document == HEATING
    assert second.citations[1].problem == "cursor 1 was not opened in this turn"
    assert prompt.count("to=browser.search") == 1
    assert '{"query": "How much is the rent?"}' in prompt
    assert "[2] How much is the rent?\n**viewing lines" in prompt
    assert "In May【1†L8】.<|end|>" in prompt
    assert "to=browser.open" not in prompt
    # The cache still has everything up to the first answer.
    begun = source.prompts[0].partition("<|start|>assistant")[0]
    cached = source.requests[-1].prompt[: second.usage.cached_tokens]
    assert prompt.startswith(begun)
    assert load_tokenizer().decode(cached).startswith(begun)


def test_a_new_conversation_counts_its_pages_from_0(library: Library) -> None:
    """After ``clear`` as at the start."""
    source = Scripted(answer("A【0†L5】."), answer("B【0†L5】."))
    chat = grounded(source, library)
    chat.ask(QUESTION)
    chat.clear()
    found = chat.ask(QUESTION)

    assert found.text == "B[1]."
    assert "[0] Who services" in source.prompts[1]


def test_a_library_is_set_and_taken_away_between_turns(library: Library) -> None:
    """Tool and instructions come and go; what was said stays."""
    source = Scripted(
        turn("", "Hello."),
        answer("May【0†L5】."),
        turn("", "Fine 【0†L5】."),
        remembers=True,
    )
    chat = grounded(source, None)
    chat.ask("Hi")
    assert "browser" not in source.prompts[0]
    chat.library = library
    assert chat.ask(QUESTION).text == "May[1]."
    assert "## browser" in source.prompts[1]
    assert "Hello." in source.prompts[1]
    chat.library = None
    last = chat.ask("And you?")
    assert last.text == "Fine 【0†L5】."
    assert "## browser" not in source.prompts[2]
    assert "May【0†L5】." in source.prompts[2]
    assert (last.citations, last.passages) == ((), ())


def test_no_room_leaves_the_conversation_as_it_was(library: Library) -> None:
    """The question, and the search for it, can be made again."""
    source = Scripted([ContextError("No room.")], answer("May【1†L5】."))
    chat = grounded(source, library)
    before = list(chat.messages)
    with pytest.raises(ContextError):
        chat.ask(QUESTION)

    assert chat.messages == before
    assert chat.ask(QUESTION).text == "May[1]."


def test_an_answer_that_is_stopped_keeps_its_sources_so_far(library: Library) -> None:
    """As a chat shows them after Ctrl-C."""
    source = Scripted(answer("In May【0†L5】, and so on."))
    chat = grounded(source, library)
    stream = chat.stream(QUESTION)
    for event in stream:
        if "[1]" in str(getattr(event, "text", "")):
            break
    stream.close()

    assert chat.citations[0].document == HEATING
    assert chat.passages[0].name == HEATING
    assert chat.messages[-1].text.startswith("In May【0†L5】")


def test_of_a_long_text_the_question_is_searched_for(library: Library) -> None:
    """It is the last paragraph; a caller may say which words."""
    source = Scripted(answer("A."), answer("B."))
    chat = grounded(source, library)
    calls = [
        event.call.text
        for stream in (
            chat.stream(f"{'A long letter. ' * 90}\n\nWho pays for the pump?\n"),
            chat.stream(QUESTION, query="pump price"),
        )
        for event in stream
        if isinstance(event, ToolCall)
    ]

    assert calls == ['{"query": "Who pays for the pump?"}', '{"query": "pump price"}']


def test_a_model_that_cannot_read_files_is_not_asked(library: Library) -> None:
    """The passages are all there is, and the note says why."""
    source = Scripted()
    chat = GroundedConversation(
        source, load_tokenizer(), library=library, reads_files=False
    )
    found = chat.ask(QUESTION)

    assert (found.text, found.citations) == ("", ())
    assert found.passages[0].name == HEATING
    assert found.note is not None
    assert "20b" in found.note
    assert str(found).startswith(f"{found.note}\n\nPassages found:\n{HEATING}:9")
    assert source.prompts == []


def test_a_browser_of_one_s_own_is_refused_beside_a_library(library: Library) -> None:
    """There is one browser tool."""
    with pytest.raises(ValueError, match="must leave out browser"):
        GroundedConversation(
            Scripted(), load_tokenizer(), library=library, tools=[Browser(Documents([]))]
        )


def test_a_loaded_model_answers_from_a_library(library: Library) -> None:
    """By ``ask``, ``stream`` and a conversation; without one, as before."""
    steps = [answer("May【0†L5】.")] * 3
    llm = LLM(Path("/models/x"), Scripted(*steps, turn("", "Hi [1].")), load_tokenizer())

    assert llm.ask(QUESTION, library=library).citations[0].verified
    pieces = llm.stream(QUESTION, library=library)
    assert "".join(piece.answer for piece in pieces) == "May[1]."
    with llm.conversation(library=library, prefetch=False) as chat:
        assert chat.ask(QUESTION).text == "May[1?]."
    plain = llm.ask("Hello")
    assert (plain.text, plain.citations, str(plain)) == ("Hi [1].", (), "Hi [1].")
