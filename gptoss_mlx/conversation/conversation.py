"""A conversation: its messages, its tools, and answers as they are generated."""

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
from gptoss_mlx.conversation.turn import run_turn
from gptoss_mlx.conversation.turn_events import TurnEvent
from gptoss_mlx.errors import GptOssError
from gptoss_mlx.files import short
from gptoss_mlx.generation.request import Progress, TokenSource
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import check_max_tokens
from gptoss_mlx.harmony.messages import Effort, Message
from gptoss_mlx.tokenizer import Tokenizer
from gptoss_mlx.tools.signature import ToolLike, read_tools

__all__ = ["Conversation"]

# Every turn has its own range of seeds: one for each step.
SEEDS_PER_TURN = 1 << 16


class Conversation:
    """A conversation with a model.

    The tools serve only this conversation: it resets them before its first turn, and
    closes them at its end. Any thread may use it, one at a time.

    Attributes:
        messages: All messages, from the system message to the last answer.
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
        tools: Sequence[ToolLike] | None = (),
        sampling: Sampling = Sampling(),
        max_tokens: int | None = None,
    ) -> None:
        """Begin a conversation.

        Args:
            source: The model.
            tokenizer: The model's vocabulary.
            messages: The messages so far: a text from the user; harmony messages;
                or mappings with ``role`` and ``content`` as in OpenAI's API. A
                ``system`` mapping is read as instructions. A system ``Message`` at the
                start is left as it is; otherwise one is made.
            effort: The reasoning effort. None: medium.
            instructions: Elsewhere called the system prompt.
            current_date: The date for the model. None: no date.
            tools: Tools that the model may call: ``Tool`` objects or plain functions; see
                ``function_from``. None: no tools.
            sampling: How tokens are drawn.
            max_tokens: The most tokens of an answer, reasoning included.

        Raises:
            HarmonyError: A mapping is not a message.
            ValueError: ``effort`` is not an effort; or it is given beside a system
                ``Message``; or that does not describe a built-in tool in ``tools``.
        """
        check_max_tokens(max_tokens, "Conversation")
        _check_text("instructions", instructions)
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
        self._is_new = True  # the tools still have to be reset
        self.messages = [*self._opening(effort), *self._given.messages]

    def __repr__(self) -> str:
        """Return its size, e.g. ``<Conversation of 3 messages, 1 tool>``."""
        messages, tools = len(self.messages), len(self._tools)
        return (
            f"<Conversation of {messages} message{'s' if messages != 1 else ''}, "
            f"{tools or 'no'} tool{'s' if tools != 1 else ''}>"
        )

    @property
    def effort(self) -> Effort:
        """The reasoning effort. It may be set between two turns.

        Raises:
            ValueError: When it is set: it is not an effort, or the caller's own system
                message contains one.
        """
        return self._effort or "medium"

    @effort.setter
    def effort(self, effort: Effort) -> None:
        opening = self._opening(effort)
        self._effort = effort
        self.messages[: len(opening)] = opening

    def equip(self, tools: Sequence[ToolLike] | None, instructions: str | None) -> None:
        """Change the tools and the instructions between two turns.

        The old tools are not closed.

        Args:
            tools: As at the start.
            instructions: As at the start.

        Raises:
            ValueError: As at the start.
        """
        _check_text("instructions", instructions)
        self._end_turn()
        before = len(self._opening(self._effort))
        old = self._tools, self._instructions
        self._tools, self._instructions = read_tools(tools), instructions
        try:
            self.messages[:before] = self._opening(self._effort)
        except (GptOssError, ValueError):
            self._tools, self._instructions = old
            raise

    def clear(self) -> None:
        """Start a new conversation with the same instructions and tools."""
        self._end_turn()
        self._is_new = True
        self.messages = self._opening(self._effort)

    def close(self) -> None:
        """End the turn in progress, if there is one, and close the tools."""
        with ExitStack() as stack:  # closes each, even if another one raises
            for tool in self._tools:
                stack.callback(tool.close)
            self._end_turn()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the tools."""
        self.close()

    def ask(
        self,
        question: str | None = None,
        *,
        max_tokens: int | None = None,
        first_calls: Sequence[Message] = (),
    ) -> Answer:
        """Ask, and wait for the whole answer.

        Args:
            question: Any text. None: answer the last message.
            max_tokens: The most tokens to generate, reasoning included.
            first_calls: As in ``stream``.

        Raises:
            ContextError: There is no room for an answer. The question is not kept.
            DeviceError: As in ``stream``.
        """
        turn = self.stream(question, max_tokens=max_tokens, first_calls=first_calls)
        return collect(turn)

    def stream(
        self,
        question: str | None = None,
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        progress: Progress | None = None,
        watch: Callable[[], None] | None = None,
        first_calls: Sequence[Message] = (),
    ) -> Generator[TurnEvent]:
        """Ask, and stream the answer, reasoning and calls included.

        The conversation keeps the question and the answer so far, even if the caller
        stops before the end. A turn that is still in progress is closed.

        Args:
            question: Any text. None: answer the last message.
            sampling: How this answer's tokens are drawn. None: as for other answers.
            max_tokens: The most tokens to generate, reasoning included. None: as for other
                answers.
            progress: Called with (tokens prefilled, tokens to prefill) of each prompt.
            watch: Called at every token, and at least ten times a second during the wait
                for one. An error that it raises ends the turn.
            first_calls: Calls of tools to run before the model writes, as if it had made
                them.

        Raises:
            ContextError: There is no room for an answer. The question is not kept.
            DeviceError: The device cannot compute. If an answer has begun, it is kept with
                its question.
            ValueError: Another thread is waiting for an answer; or an argument is of
                another type.
        """
        _check_text("question", question)
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
                first_calls=first_calls,
                sampling=self._next_sampling() if sampling is None else sampling,
                max_tokens=self._max_tokens if max_tokens is None else max_tokens,
                progress=progress,
                watch=watch,
            )
            yield from turn
        finally:
            if len(messages) == asked:  # the turn has not begun
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
        """Return the next turn's sampling. The first turn has the given seed."""
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


def _check_text(name: str, text: object) -> None:
    if not (text is None or isinstance(text, str)):
        raise ValueError(f"[Conversation] {name} must be a text but got {short(text)}.")
