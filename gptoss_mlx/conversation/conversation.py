"""One conversation: it keeps the messages and streams the answers."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.conversation.turn import TurnEvent, run_turn
from gptoss_mlx.errors import ContextError
from gptoss_mlx.generation.engine import GeneratedToken, Progress
from gptoss_mlx.generation.token_source import TokenSource
from gptoss_mlx.harmony.messages import Effort, Message
from gptoss_mlx.tokenizer import Tokenizer
from gptoss_mlx.tools.tool import Tool

__all__ = ["Session"]


class Session:
    """A conversation with a model.

    Attributes:
        messages: All of them, from the system message to the last answer.
        source: The model.
        effort: How long the model is to reason. It may be set between two turns.
    """

    def __init__(
        self,
        source: TokenSource,
        tokenizer: Tokenizer,
        *,
        effort: Effort = "medium",
        instructions: str | None = None,
        current_date: datetime.date | None = None,
        tools: Sequence[Tool] = (),
    ) -> None:
        """Begin a conversation. The arguments are those of ``opening_messages``."""
        self.source = source
        self._tokenizer = tokenizer
        self._instructions = instructions
        self._current_date = current_date
        self._tools = tools
        self._effort: Effort = effort
        self.messages: list[Message] = []
        self.clear()

    @property
    def effort(self) -> Effort:
        """How long the model is to reason."""
        return self._effort

    @effort.setter
    def effort(self, effort: Effort) -> None:
        self._effort = effort
        opening = self._opening()
        self.messages[: len(opening)] = opening

    def clear(self) -> None:
        """Begin anew, with the same instructions."""
        for tool in self._tools:
            tool.reset()
        self.messages = self._opening()

    def ask(
        self,
        question: str,
        *,
        progress: Progress | None = None,
        watch: Callable[[], None] = lambda: None,
    ) -> Generator[TurnEvent]:
        """Ask, and stream the answer, reasoning and calls included.

        The conversation keeps the question and what was answered, also when the caller
        stops listening before the end.

        Args:
            question: Any text.
            progress: Hears how far each reading of a prompt is.
            watch: Is called at every token, also at those that make no event. What it
                raises ends the turn.

        Raises:
            ContextError: There is no room for an answer. The question is not kept.
        """
        kept = len(self.messages)
        self.messages.append(Message("user", question))
        try:
            yield from run_turn(
                self.messages,
                _Watched(self.source, watch),
                self._tokenizer,
                tools=self._tools,
                progress=progress,
            )
        except ContextError:
            del self.messages[kept:]
            raise

    def _opening(self) -> list[Message]:
        return opening_messages(
            effort=self._effort,
            instructions=self._instructions,
            current_date=self._current_date,
            tools=self._tools,
        )


class _Watched:
    """A source whose every token is noticed."""

    def __init__(self, source: TokenSource, watch: Callable[[], None]) -> None:
        self._source = source
        self._watch = watch

    @property
    def context_tokens(self) -> int:
        return self._source.context_tokens

    @property
    def cached_tokens(self) -> int:
        return self._source.cached_tokens

    def __call__(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[GeneratedToken]:
        return self._pass(self._source(prompt, max_tokens=max_tokens, progress=progress))

    def _pass(self, steps: Generator[GeneratedToken]) -> Generator[GeneratedToken]:
        with closing(steps):
            for step in steps:
                self._watch()
                yield step
