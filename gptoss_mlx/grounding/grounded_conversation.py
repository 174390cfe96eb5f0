"""A conversation that can answer from a library."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import fields
from os import PathLike, fspath

from gptoss_mlx.conversation.answer import Answer, collect
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.conversation.read import Messages
from gptoss_mlx.conversation.turn_events import ToolResult, TurnEnd, TurnEvent
from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.generation.request import Progress, TokenSource
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.grounding.answer import GroundedAnswer
from gptoss_mlx.grounding.citations import Citation, CitationChecker
from gptoss_mlx.grounding.cited_text import cited
from gptoss_mlx.harmony.builtin_tools import BROWSER
from gptoss_mlx.harmony.messages import Effort, Message
from gptoss_mlx.library.index import Hit
from gptoss_mlx.library.library import Library
from gptoss_mlx.tokenizer import Tokenizer
from gptoss_mlx.tools.browser.library_pages import LibraryPages, Searched
from gptoss_mlx.tools.browser.tool import Browser
from gptoss_mlx.tools.signature import ToolLike
from gptoss_mlx.tools.tool import Tool

__all__ = ["GroundedConversation", "first_search"]

INSTRUCTIONS = (
    "Answer from the user's files, which the browser tool searches and opens. Read the "
    "lines that the answer rests on, and cite them after each statement, for example "
    "【3†L9-L11】. If the files do not answer the question, say so."
)

CANNOT_READ = (
    "The demo model cannot read files. These are the passages found; 20b answers from "
    "them: gptoss-mlx download 20b"
)
FOUND_NOTHING = (
    "Nothing was found{}. The demo model cannot read files; 20b searches on with other "
    "words: gptoss-mlx download 20b"
)

MAX_QUERY = 300
"""Characters of a question that are searched for."""

PASSAGES = 10


class GroundedConversation(Conversation):
    """A conversation that answers from a library, if it has one.

    The model searches the library with the ``browser`` tool. Its first search is made for
    it.

    Attributes:
        citations: What the last answer cites, by number.
        passages: What the searches of the last turn found, the best first.
    """

    def __init__(
        self,
        source: TokenSource,
        tokenizer: Tokenizer,
        messages: Messages = (),
        *,
        library: Searched | None = None,
        prefetch: bool = True,
        reads_files: bool = True,
        effort: Effort | None = None,
        instructions: str | None = None,
        current_date: datetime.date | None = None,
        tools: Sequence[ToolLike] | None = (),
        sampling: Sampling = Sampling(),
        max_tokens: int | None = None,
    ) -> None:
        """Begin a conversation.

        Args:
            source: The model.
            tokenizer: The model's vocabulary.
            messages: As of ``Conversation``, like the others.
            library: The documents to answer from.
            prefetch: Whether the question is searched for before the model writes.
            reads_files: Whether the model can call tools. If not, a question with a library
                is answered with passages alone.
            effort: The reasoning effort.
            instructions: The user's own.
            current_date: The date for the model.
            tools: The user's own.
            sampling: How tokens are drawn.
            max_tokens: The most tokens of an answer.
        """
        super().__init__(
            source,
            tokenizer,
            messages,
            effort=effort,
            instructions=instructions,
            current_date=current_date,
            tools=tools,
            sampling=sampling,
            max_tokens=max_tokens,
        )
        self.citations: list[Citation] = []
        self.passages: list[Hit] = []
        self._own = list(tools or ()), instructions
        self._words = tokenizer
        self._prefetch = prefetch
        self._reads_files = reads_files
        self._library: Searched | None = None
        if library is not None:
            self.library = library

    @property
    def library(self) -> Searched | None:
        """The documents to answer from. It may be set between two turns."""
        return self._library

    @library.setter
    def library(self, library: Searched | None) -> None:
        tools, instructions = self._own
        if any(isinstance(tool, Tool) and tool.name == BROWSER.name for tool in tools):
            raise ValueError(
                "[GroundedConversation] tools must leave out browser, which reads the "
                "library, but have it."
            )
        if isinstance(library, str | PathLike):
            raise ValueError(
                "[GroundedConversation] library must be a Library but is a path: "
                f"Library({fspath(library)!r}) opens it."
            )
        if library is not None and self._reads_files:
            pages = LibraryPages(library)
            browser = Browser(pages, self._words)
            texts = [text for text in (instructions, INSTRUCTIONS) if text]
            self.equip([*tools, browser], "\n\n".join(texts))
            self._pages, self._browser = pages, browser
        else:
            self.equip(tools, instructions)
        self._library = library
        self.citations, self.passages = [], []

    @property
    def note(self) -> str | None:
        """Why the last question was not put to the model, and what was found; or None."""
        library = self._library
        if library is None or self._reads_files:
            return None
        if self.passages:
            return CANNOT_READ
        names = library.names() if isinstance(library, Library) else []
        count = "the document" if len(names) == 1 else f"the {len(names):,} documents"
        return FOUND_NOTHING.format(f" in {count}" if names else "")

    def ask(
        self,
        question: str | None = None,
        *,
        max_tokens: int | None = None,
        first_calls: Sequence[Message] = (),
    ) -> GroundedAnswer:
        """Ask, and wait for the whole answer, with its citations."""
        turn = self.stream(question, max_tokens=max_tokens, first_calls=first_calls)
        return self.grounded(collect(turn))

    def grounded(self, answer: Answer) -> GroundedAnswer:
        """Return the last turn's answer with its citations and passages."""
        values = {field.name: getattr(answer, field.name) for field in fields(Answer)}
        cited = [each for each in self.citations if each.mark in answer.text]
        return GroundedAnswer(
            **values, citations=tuple(cited), passages=tuple(self.passages), note=self.note
        )

    def stream(
        self,
        question: str | None = None,
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        progress: Progress | None = None,
        watch: Callable[[], None] | None = None,
        first_calls: Sequence[Message] = (),
        query: str | None = None,
    ) -> Generator[TurnEvent]:
        """Ask, and stream the answer: see ``Conversation.stream``.

        With a library, markers of citations in the text for the user come as ``[1]``.

        Args:
            question: Any text. None: answer the last message.
            sampling: As of ``Conversation.stream``, like the others.
            max_tokens: The most tokens to generate.
            progress: Called with the tokens prefilled.
            watch: Called at every token.
            first_calls: Calls to run before the first search.
            query: The words to search for first. None: the question's last paragraph.
        """
        self.citations, self.passages = [], []
        library = self._library
        if library is None:
            query = ""
        elif query is None:
            query = _query(self._last_text() if question is None else question)
        if library is not None and not self._reads_files:
            self.passages = library.search(query, PASSAGES)
            yield TurnEnd("stop", Usage())
            return
        if library is not None and self._prefetch and query:
            first_calls = [*first_calls, first_search(query)]
        turn = super().stream(
            question,
            sampling=sampling,
            max_tokens=max_tokens,
            progress=progress,
            watch=watch,
            first_calls=first_calls,
        )
        with closing(turn):
            if library is None:
                yield from turn
            else:
                yield from self._cited(turn, library, query)

    def _cited(
        self, turn: Generator[TurnEvent], library: Searched, query: str
    ) -> Generator[TurnEvent]:
        if self._is_new:
            # The turn would do this at its first event, after the cursors are counted.
            self._browser.reset()
        checker = CitationChecker(library, self._pages, self._browser)
        self.citations = checker.citations
        self._pages.found.clear()
        found = self._pages.found
        with closing(cited(turn, checker)) as events:
            for event in events:
                if isinstance(event, TurnEnd) and not found and query:
                    found += library.search(query, PASSAGES)
                if isinstance(event, TurnEnd | ToolResult):
                    self.passages = _once(found)
                yield event

    def _last_text(self) -> str:
        last = self.messages[-1]
        return last.text if last.role == "user" else ""


def first_search(query: str) -> Message:
    """Return a search as the model writes it."""
    content = json.dumps({"query": query}, ensure_ascii=False)
    return Message(
        "assistant",
        content,
        channel="analysis",
        recipient="browser.search",
        content_type="code",
    )


def _query(question: str) -> str:
    """Return what to search for: of a long text with a question after it, the question."""
    # What is no text is refused where the turn begins.
    paragraphs = [part for part in str(question).split("\n\n") if part.strip()]
    return " ".join(paragraphs[-1].split())[-MAX_QUERY:] if paragraphs else ""


def _once(hits: Sequence[Hit]) -> list[Hit]:
    """Leave out passages that were found before."""
    found: dict[tuple[str, int], Hit] = {}
    for hit in hits:
        found.setdefault((hit.name, hit.first_line), hit)
    return list(found.values())
