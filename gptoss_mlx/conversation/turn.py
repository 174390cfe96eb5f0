"""One turn: the model writes, calls tools, reads their results, and answers.

Reasoning is kept between the calls of a turn; rendering drops it once the turn has ended
in ``final``.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from gptoss_mlx.conversation.calls import (
    NO_TOOL,
    Answered,
    first_call,
    kept,
    others_part,
    own,
    result_message,
    text_of,
    third_time,
    written,
)
from gptoss_mlx.conversation.repetition import RepetitionDetector
from gptoss_mlx.errors import ToolError
from gptoss_mlx.generation.engine import Progress
from gptoss_mlx.generation.token_source import TokenSource
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta, ParsedMessage, StreamParser
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import Tokenizer
from gptoss_mlx.tools.tool import Tool, tool_for

__all__ = [
    "MAX_CALLS",
    "EndReason",
    "ToolCall",
    "ToolResult",
    "TurnEnd",
    "TurnEvent",
    "Usage",
    "run_turn",
]

MAX_CALLS = 64
"""Calls a turn. What goes on longer has lost its way."""

MAX_REFUSALS = 3
"""A model that goes on calling after so many calls in a row were refused is stopped."""

EndReason = Literal["stop", "length", "context", "repetition", "calls"]
"""Why a turn ended: the model was done, ``max_tokens`` are out, the context is full, it
repeated itself, or it called tools without end."""


@dataclass(slots=True)
class Usage:
    """What a turn took.

    Attributes:
        prompt_tokens: Those of the first prompt.
        cached_tokens: How many of these were not read again.
        generated_tokens: All that the model wrote, structure included.
        reasoning_tokens: How many of these were ``analysis``.
        context_tokens: Prompt and answer at the end of the turn.
        calls: Those that were looked at: not one too many, nor the same again.
        prefill_s: Seconds until the first token, in every step of the turn.
        decode_s: Seconds for the later tokens, without the tools' own.
        later_tokens: Those that came in ``decode_s``.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    reasoning_tokens: int = 0
    context_tokens: int = 0
    calls: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    later_tokens: int = 0

    @property
    def tokens_per_s(self) -> float:
        """How quickly tokens come, once the prompt is read; 0 if none did."""
        return self.later_tokens / self.decode_s if self.decode_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model has called a tool, which is about to run."""

    call: Message


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool has answered.

    Attributes:
        call: What it answers.
        result: What the model is shown.
        refused: It is an error's message: the call could not be run as it was made.
    """

    call: Message
    result: Message
    refused: bool = False


@dataclass(frozen=True, slots=True)
class TurnEnd:
    """The turn is over. It is the last event of one that was not interrupted."""

    reason: EndReason
    usage: Usage


TurnEvent = Delta | ToolCall | ToolResult | TurnEnd


def run_turn(
    messages: list[Message],
    source: TokenSource,
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Tool] = (),
    max_tokens: int | None = None,
    max_calls: int = MAX_CALLS,
    progress: Progress | None = None,
) -> Generator[TurnEvent]:
    """Let the model answer, and run what it calls.

    A call that cannot be run is answered with what is wrong with it: no such tool, a form
    that the tool refuses, no end, the same call for the third time, too many calls. So is
    one whose result the context has no room for.

    Args:
        messages: The conversation, which ends with what is to be answered. It grows by
            what the model wrote and the tools answered, also when the caller stops
            listening before the end; it then ends in a ``final``, which may be empty, and
            every call in it has a result.
        source: The model.
        tokenizer: Its vocabulary.
        tools: What the messages told the model it has: see ``opening_messages``.
        max_tokens: The most the model may write in the turn. None: no bound.
        max_calls: The most calls to run.
        progress: Hears how far each reading of a prompt is.

    Yields:
        Pieces of text, calls and results as they come, and a ``TurnEnd``.

    Raises:
        ContextError: The conversation leaves no room for an answer. It is as it was.
        HarmonyError: A message cannot be rendered.
        ValueError: ``max_tokens`` is under 1.
        Exception: What the source raises, or a tool that breaks its own contract.
    """
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"[run_turn] max_tokens must be 1 or more but got {max_tokens}.")
    return _Turn(messages, source, tokenizer, tools, max_tokens, max_calls, progress).run()


class _Turn:
    """A turn in progress."""

    def __init__(
        self,
        messages: list[Message],
        source: TokenSource,
        tokenizer: Tokenizer,
        tools: Sequence[Tool],
        max_tokens: int | None,
        max_calls: int,
        progress: Progress | None,
    ) -> None:
        self._messages = messages
        self._source = source
        self._tokenizer = tokenizer
        self._tools = tools
        self._max_tokens = max_tokens
        self._max_calls = max_calls
        self._progress = progress
        self._usage = Usage()
        self._done: list[Answered] = []
        self._refusals = 0  # in a row
        self._begun = False

    def run(self) -> Generator[TurnEvent]:
        prompt = render_conversation(self._messages, self._tokenizer)
        self._usage.prompt_tokens = len(prompt)
        try:
            while True:
                reason, call = yield from self._write(prompt)
                if call is None or reason is not None:
                    break
                prompt = yield from self._answer(call)
                if self._refusals > MAX_REFUSALS:
                    reason = "calls"
                    break
                if len(prompt) >= self._source.context_tokens:
                    reason = "context"
                    break
        finally:
            if self._begun:
                self._close()
        yield TurnEnd(reason or "stop", self._usage)

    def _write(
        self, prompt: list[int]
    ) -> Generator[TurnEvent, None, tuple[EndReason | None, ParsedMessage | None]]:
        """Let the model write up to a call or the end.

        Returns:
            Why the turn must end, if it must, and the call that is to be answered.
        """
        usage, left = self._usage, None
        if self._max_tokens is not None:
            left = self._max_tokens - usage.generated_tokens
            if left < 1:
                return "length", None
        parser = StreamParser(self._tokenizer)
        detector = RepetitionDetector()
        reason: EndReason | None = None
        clock = _Clock()
        steps = self._source(prompt, max_tokens=left, progress=self._progress)
        first, self._begun = not self._begun, True
        try:
            with closing(steps):
                for step in steps:
                    clock.tick()
                    if first and clock.tokens == 1:  # The source knows it by now.
                        usage.cached_tokens = self._source.cached_tokens
                    deltas = parser.push(step.token)
                    yield from own(deltas)
                    last = parser.messages[-1:]
                    if parser.done or first_call(last) or others_part(last, deltas):
                        break
                    if step.finish_reason in ("length", "context"):
                        reason = step.finish_reason
                    elif detector.push(step.token):
                        reason = "repetition"
                    if reason is not None:
                        break
            rest = parser.finish()
            if written(parser.messages[-1:]):
                yield from own(rest)
        finally:
            parser.finish()
            clock.stop(usage)
            usage.context_tokens = len(prompt) + clock.tokens
            self._keep(parser.messages)
        return reason, first_call(parser.messages)

    def _keep(self, messages: Sequence[ParsedMessage]) -> None:
        """Add what the model wrote to the conversation. A call is the last of it."""
        for parsed in written(messages):
            if parsed.message.channel == "analysis":
                self._usage.reasoning_tokens += len(parsed.tokens)
            self._messages.append(kept(parsed))

    def _answer(self, parsed: ParsedMessage) -> Generator[TurnEvent, None, list[int]]:
        """Run a call, or say why it cannot be; return the next prompt."""
        call = self._messages[-1]
        yield ToolCall(call)
        refused = True
        try:
            text = self._run(parsed, call)
            refused = False
        except ToolError as error:
            text = f"Error: {error}"
        self._messages.append(result_message(call, text))
        prompt = render_conversation(self._messages, self._tokenizer)
        if len(prompt) >= self._source.context_tokens:
            tokens = len(self._tokenizer.encode(text))
            text = f"Error: The context has no room for the result's {tokens:,} tokens."
            refused = True
            self._messages[-1] = result_message(call, text)
            prompt = render_conversation(self._messages, self._tokenizer)
        self._usage.context_tokens = len(prompt)
        yield ToolResult(call, self._messages[-1], refused)
        return prompt

    def _run(self, parsed: ParsedMessage, call: Message) -> str:
        key = (call.recipient, text_of(call))
        self._refusals += 1
        if self._usage.calls >= self._max_calls:
            raise ToolError(
                f"No more than {self._max_calls} calls may be made in a turn. "
                "Answer with what you have."
            )
        if (again := third_time(self._done, key)) is not None:
            self._done.append(again)  # The next call of the circle is seen as such too.
            raise ToolError(
                "This call has been made before, with the same result each time. "
                "Do something else, or answer with what you have."
            )
        self._refusals = 0
        self._usage.calls += 1
        try:
            text = self._process(parsed, call)
        except ToolError as error:
            self._done.append((*key, f"Error: {error}"))
            raise
        self._done.append((*key, text))
        return text

    def _process(self, parsed: ParsedMessage, call: Message) -> str:
        names = ", ".join(_names(self._tools)) or "none"
        recipient = parsed.message.recipient
        if recipient is None or recipient in NO_TOOL:
            raise ToolError(
                "A call must name its recipient, as in to=functions.NAME, but names none. "
                f"The tools are: {names}."
            )
        if parsed.end is None:
            raise ToolError("A call must end with <|call|> but was broken off. Repeat it.")
        found = tool_for(recipient, self._tools)
        if found is None:
            raise ToolError(f"There is no tool {recipient!r}. The tools are: {names}.")
        tool, recipient = found
        return tool.process(replace(call, recipient=recipient))

    def _close(self) -> None:
        """Leave the conversation as one that can go on."""
        last = self._messages[-1]
        if last.role == "assistant" and last.recipient is not None:
            last = result_message(last, "Error: The call was stopped.")
            self._messages.append(last)
        if last.role != "assistant" or last.channel != "final":
            # Rendering drops the reasoning before a final, and only then.
            self._messages.append(Message("assistant", "", channel="final"))


class _Clock:
    """Times the tokens of one step of a turn."""

    def __init__(self) -> None:
        self.tokens = 0
        self._begun = self._first = self._last = time.perf_counter()

    def tick(self) -> None:
        self._last = time.perf_counter()
        if not self.tokens:
            self._first = self._last
        self.tokens += 1

    def stop(self, usage: Usage) -> None:
        usage.generated_tokens += self.tokens
        usage.later_tokens += max(self.tokens - 1, 0)
        usage.prefill_s += self._first - self._begun
        usage.decode_s += self._last - self._first


def _names(tools: Sequence[Tool]) -> list[str]:
    """Name what can be called, as recipients."""
    return [
        f"{tool.name}.{function.name}"
        for tool in tools
        for function in tool.instruction.tools
    ] + [tool.name for tool in tools if not tool.instruction.tools]
