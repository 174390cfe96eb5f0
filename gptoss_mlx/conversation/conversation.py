"""One conversation: what is said, who may be called, and the answers as they come."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Self

from gptoss_mlx.conversation.answer import Answer, collect
from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.conversation.read import Messages, read_messages
from gptoss_mlx.conversation.turn import TurnEvent, run_turn
from gptoss_mlx.generation.request import Progress, TokenSource
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.harmony.messages import Effort, Message
from gptoss_mlx.tokenizer import Tokenizer
from gptoss_mlx.tools.signature import ToolLike, read_tools

__all__ = ["Conversation"]

# Every turn draws from seeds of its own: one for each time that the model goes on.
SEEDS_PER_TURN = 1 << 16


class Conversation:
    """A conversation with a model.

    The tools serve this conversation alone: it resets them before its first turn, and
    closes them at its end. It may be used in any thread, by one at a time.

    Attributes:
        messages: All of them, from the system message to the last answer.
        source: The model.
    """

    def __init__(
        self,
        source: TokenSource,
        tokenizer: Tokenizer,
        messages: Messages = (),
        *,
        effort: Effort | None = None,
        instructions: str | None = None,
        current_date: datetime.date | None = None,
        tools: Sequence[ToolLike] = (),
        sampling: Sampling = Sampling(),
        max_tokens: int | None = None,
    ) -> None:
        """Begin a conversation.

        Args:
            source: The model.
            tokenizer: Its vocabulary.
            messages: What was said so far: a text, which is the user's; harmony messages;
                or mappings with ``role`` and ``content`` as OpenAI's API has them. A
                ``system`` mapping is instructions. A system ``Message`` in front is left
                as it is; else one is made.
            effort: How long the model is to reason. None: medium.
            instructions: What is elsewhere called the system prompt.
            current_date: What the model is told. None tells it nothing.
            tools: What the model may call, and is told of: tools, or plain functions; see
                ``function_from``.
            sampling: How tokens are drawn.
            max_tokens: The most that an answer may have, reasoning included.

        Raises:
            HarmonyError: A mapping is not a message.
            ValueError: There is no such effort; or a system ``Message`` stands in front
                beside one, or beside a built-in tool that it does not tell of.
        """
        self.source = source
        self._tokenizer = tokenizer
        self._given = read_messages(messages)
        self._effort = effort
        self._instructions = instructions
        self._current_date = current_date
        self._tools = read_tools(tools)
        self._sampling = sampling
        self._max_tokens = max_tokens
        self._turns = 0
        self._turn: Generator[TurnEvent] | None = None
        self._is_new = True  # The tools are to be reset.
        self.messages = [*self._opening(effort), *self._given.messages]

    @property
    def effort(self) -> Effort:
        """How long the model is to reason. It may be set between two turns.

        Raises:
            ValueError: When it is set: there is no such effort, or the caller's own system
                message says it.
        """
        return self._effort or "medium"

    @effort.setter
    def effort(self, effort: Effort) -> None:
        opening = self._opening(effort)
        self._effort = effort
        self.messages[: len(opening)] = opening

    def clear(self) -> None:
        """Begin a new conversation with the same instructions and tools."""
        self._end_turn()
        self._is_new = True
        self.messages = self._opening(self._effort)

    def close(self) -> None:
        """End the turn in progress, if there is one, and close the tools."""
        with ExitStack() as stack:  # Each is closed, whatever another one raises.
            for tool in self._tools:
                stack.callback(tool.close)
            self._end_turn()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the tools."""
        self.close()

    def ask(self, question: str | None = None, *, max_tokens: int | None = None) -> Answer:
        """Ask, and wait for the whole answer.

        Args:
            question: Any text. None: what the last message says.
            max_tokens: The most the model may write, reasoning included.

        Raises:
            ContextError: There is no room for an answer. The question is not kept.
            DeviceError: As of ``stream``.
        """
        return collect(self.stream(question, max_tokens=max_tokens))

    def stream(
        self,
        question: str | None = None,
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        progress: Progress | None = None,
        watch: Callable[[], None] | None = None,
    ) -> Generator[TurnEvent]:
        """Ask, and stream the answer, reasoning and calls included.

        The conversation keeps the question and what was answered, also when the caller
        stops listening before the end. A turn that is still in progress is closed.

        Args:
            question: Any text. None: what the last message says.
            sampling: How tokens of this answer are drawn. None: as of the others.
            max_tokens: The most the model may write, reasoning included. None: as of the
                others.
            progress: Called with (tokens prefilled, tokens to prefill) of each prompt.
            watch: Called at every token, and at least ten times a second while one is
                waited for. What it raises ends the turn.

        Raises:
            ContextError: There is no room for an answer. The question is not kept.
            DeviceError: The device cannot compute. The question is kept if an answer to it
                was begun, and that is kept with it.
            ValueError: Another thread is being answered.
        """
        self._end_turn()
        if self._is_new:
            self._is_new = False
            for tool in self._tools:
                tool.reset()
        messages, before, turns = self.messages, len(self.messages), self._turns
        if question is not None:
            messages.append(Message("user", question))
        asked = len(messages)
        try:
            turn = self._turn = run_turn(
                messages,
                self.source,
                self._tokenizer,
                tools=self._tools,
                sampling=self._next_sampling() if sampling is None else sampling,
                max_tokens=self._max_tokens if max_tokens is None else max_tokens,
                progress=progress,
                watch=watch,
            )
            yield from turn
        finally:
            if len(messages) == asked:  # The turn has not begun.
                del messages[before:]
                self._turns = turns

    def _end_turn(self) -> None:
        if self._turn is not None:
            if inspect.getgeneratorstate(self._turn) == inspect.GEN_RUNNING:
                raise ValueError(
                    "[Conversation] one question must be answered at a time, but another "
                    "thread has asked one."
                )
            self._turn.close()
            self._turn = None

    def _next_sampling(self) -> Sampling:
        """Return how the next turn draws. The first has the seed that was given."""
        turn, self._turns = self._turns, self._turns + 1
        seed = self._sampling.seed
        if seed is None:
            return self._sampling
        return replace(self._sampling, seed=(seed + turn * SEEDS_PER_TURN) % (1 << 64))

    def _opening(self, effort: Effort | None) -> list[Message]:
        return opening_messages(
            self._given,
            effort=effort,
            instructions=self._instructions,
            current_date=self._current_date,
            tools=self._tools,
        )
