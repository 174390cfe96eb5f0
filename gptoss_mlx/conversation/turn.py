"""One turn: the model writes, calls tools, gets their results, and answers.

Reasoning is kept between the calls of a turn; rendering drops it after the turn's
``final``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from gptoss_mlx.conversation.calls import (
    Call,
    CallRecord,
    as_prompted,
    assistant_deltas,
    begun_messages,
    first_call,
    repeats_calls,
    result_message,
    speaks_for_others,
)
from gptoss_mlx.conversation.headerless import HeaderlessText
from gptoss_mlx.conversation.repetition import RepetitionDetector
from gptoss_mlx.conversation.turn_events import (
    EndReason,
    ToolCall,
    ToolResult,
    TurnEnd,
    TurnEvent,
)
from gptoss_mlx.conversation.usage import Clock, Usage
from gptoss_mlx.errors import GptOssError, ToolError
from gptoss_mlx.generation.request import Progress, Request, TokenSource
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.stops import Stops, check_max_tokens
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import ParsedMessage, StreamParser
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import Tokenizer
from gptoss_mlx.tools.tool import Tool, tool_for

__all__ = ["MAX_CALLS", "run_turn"]

MAX_CALLS = 64
"""The most calls per turn."""

MAX_REFUSALS = 3
"""The turn ends after this many refused calls in a row."""


def run_turn(
    messages: list[Message],
    source: TokenSource,
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Tool] = (),
    first_calls: Sequence[Message] = (),
    sampling: Sampling = Sampling(),
    max_tokens: int | None = None,
    max_calls: int = MAX_CALLS,
    progress: Progress | None = None,
    watch: Callable[[], None] | None = None,
) -> Generator[TurnEvent]:
    """Let the model answer, and run the tools that it calls.

    A call that cannot be run is answered with the reason: an unknown tool, arguments that
    the tool refuses, no end, the same call for the third time, too many calls, or a
    result for which the context has no room.

    Args:
        messages: The conversation, which ends with the message to answer. The model's
            messages and the tools' results are appended, even if the caller stops before
            the end; it then ends with a ``final``, which may be empty, and every call in it
            has a result.
        source: The model.
        tokenizer: Its vocabulary.
        tools: Tools that the messages describe: see ``opening_messages``.
        first_calls: Calls to run before the model writes, as if it had made them.
        sampling: How tokens are drawn. After each call the seed is one higher, so that the
            next prompt gets different draws.
        max_tokens: The most tokens to generate in the turn. None: no limit.
        max_calls: The most calls to run.
        progress: Called with (tokens prefilled, tokens to prefill) of each prompt.
        watch: Called at every token, and at least ten times a second during the wait for
            one. An error that it raises ends the turn.

    Yields:
        Pieces of text, calls and results as they come, and a ``TurnEnd``.

    Raises:
        ContextError: The conversation leaves no room for an answer. It is unchanged.
        DeviceError: The device cannot compute. The conversation is unchanged if nothing was
            written yet; otherwise it is as after an interruption.
        HarmonyError: A message cannot be rendered.
        ValueError: ``max_tokens`` is under 1, or a number of ``sampling`` is out of range.
        Exception: Raised by the source, or by a tool that breaks its contract.
    """
    check_max_tokens(max_tokens, "run_turn")
    return _Turn(
        messages,
        source,
        tokenizer,
        tools,
        first_calls,
        sampling,
        max_tokens,
        max_calls,
        progress,
        watch,
    ).run()


@dataclass(slots=True)
class _Turn:
    """A turn in progress."""

    messages: list[Message]
    source: TokenSource
    tokenizer: Tokenizer
    tools: Sequence[Tool]
    first_calls: Sequence[Message]
    sampling: Sampling
    max_tokens: int | None
    max_calls: int
    progress: Progress | None
    watch: Callable[[], None] | None
    usage: Usage = field(default_factory=Usage)
    requests: int = 0
    done: list[CallRecord] = field(default_factory=list)
    refusals: int = 0  # in a row

    def run(self) -> Generator[TurnEvent]:
        first = len(self.messages)
        failed = False
        try:
            prompt = yield from self._first_prompt()
            begun = len(self.messages)
            while True:
                reason, call = yield from self._write(prompt)
                if call is None or reason is not None:
                    break
                prompt = yield from self._answer(call)
                if self.refusals > MAX_REFUSALS:
                    reason = "calls"
                    break
                if len(prompt) >= self.source.context_tokens:
                    reason = "context"
                    break
        except GptOssError:
            # If nothing was written, the same question can be asked again.
            failed = not self.requests or len(self.messages) == begun
            raise
        finally:
            if self.requests and not failed:
                self._close()
            else:
                del self.messages[first:]
        yield TurnEnd(reason or "stop", self.usage, tuple(self.messages[first:]))

    def _first_prompt(self) -> Generator[TurnEvent, None, list[int]]:
        """Run the first calls; return the prompt for what the model writes first."""
        prompt = render_conversation(self.messages, self.tokenizer)
        # Without room for an answer, no call is run.
        if len(prompt) < self.source.context_tokens:
            for message in self.first_calls:
                self.messages.append(message)
                call = Call(message, message.recipient, is_whole=True)
                prompt = yield from self._answer(call)
        self.usage.prompt_tokens = len(prompt)
        return prompt

    def _write(
        self, prompt: list[int]
    ) -> Generator[TurnEvent, None, tuple[EndReason | None, Call | None]]:
        """Let the model write until a call or the end.

        Returns:
            Why the turn must end, if it must, and the call to answer.
        """
        usage, left = self.usage, None
        if self.max_tokens is not None:
            left = self.max_tokens - usage.generated_tokens
            if left < 1:
                return "length", None
        parser = StreamParser(self.tokenizer)
        detector = RepetitionDetector()
        headerless = HeaderlessText()
        reason: EndReason | None = None
        clock = Clock()
        generation = self.source(self._request(prompt, left))
        self.requests += 1
        try:
            with closing(generation):
                for step in generation:
                    clock.tick()
                    if self.watch is not None:
                        self.watch()
                    if self.requests == 1 and clock.tokens == 1:
                        usage.cached_tokens = generation.cached_tokens
                    deltas = parser.push(step.token)
                    yield from headerless.push(assistant_deltas(deltas), parser.messages)
                    last = parser.messages[-1:]
                    if parser.done or first_call(last) or speaks_for_others(last, deltas):
                        break
                    if step.finish_reason in ("length", "context"):
                        reason = step.finish_reason
                    elif detector.push(step.token):
                        reason = "repetition"
                    if reason is not None:
                        break
            rest = parser.finish()
            if begun_messages(parser.messages[-1:]):
                yield from headerless.push(assistant_deltas(rest), parser.messages)
            yield from headerless.finish()
        finally:
            parser.finish()
            clock.stop(usage)
            usage.context_tokens = len(prompt) + clock.tokens
            self._keep(parser.messages)
        return reason, first_call(parser.messages)

    def _request(self, prompt: list[int], max_tokens: int | None) -> Request:
        sampling = self.sampling
        if sampling.seed is not None and self.requests:
            seed = (sampling.seed + self.requests) % (1 << 64)
            sampling = replace(sampling, seed=seed)
        return Request(
            prompt,
            sampling=sampling,
            stops=Stops(max_tokens=max_tokens),
            progress=self.progress,
            watch=self.watch,
        )

    def _keep(self, messages: Sequence[ParsedMessage]) -> None:
        """Add the model's messages to the conversation. A call is the last of them."""
        for parsed in begun_messages(messages):
            if parsed.message.channel == "analysis":
                self.usage.reasoning_tokens += len(parsed.tokens)
            self.messages.append(as_prompted(parsed))

    def _answer(self, call: Call) -> Generator[TurnEvent, None, list[int]]:
        """Run a call, or answer it with an error; return the next prompt."""
        yield ToolCall(call.message)
        refused = True
        try:
            text = self._run(call)
            refused = False
        except ToolError as error:
            text = f"Error: {error}"
        self.messages.append(_result(call.message, text))
        prompt = render_conversation(self.messages, self.tokenizer)
        if len(prompt) >= self.source.context_tokens:
            tokens = len(self.tokenizer.encode(text))
            text = f"Error: The context has no room for the result's {tokens:,} tokens."
            refused = True
            self.messages[-1] = _result(call.message, text)
            prompt = render_conversation(self.messages, self.tokenizer)
        self.usage.context_tokens = len(prompt)
        yield ToolResult(call.message, self.messages[-1], refused)
        return prompt

    def _run(self, call: Call) -> str:
        key = (call.message.recipient, call.message.text)
        self.refusals += 1
        if self.usage.calls >= self.max_calls:
            raise ToolError(
                f"No more than {self.max_calls} calls may be made in a turn. "
                "Answer with what you have."
            )
        if (again := repeats_calls(self.done, key)) is not None:
            self.done.append(again)  # so that the loop's next call is detected too
            raise ToolError(
                "This call has been made before, with the same result each time. "
                "Do something else, or answer with what you have."
            )
        self.refusals = 0
        self.usage.calls += 1
        try:
            text = self._process(call)
        except ToolError as error:
            self.done.append((*key, f"Error: {error}"))
            raise
        self.done.append((*key, text))
        return text

    def _process(self, call: Call) -> str:
        names = ", ".join(_names(self.tools)) or "none"
        if call.recipient is None:
            raise ToolError(
                "A call must name its recipient, as in to=functions.NAME, but names none. "
                f"The tools are: {names}."
            )
        if not call.is_whole:
            raise ToolError("A call must end with <|call|> but was broken off. Repeat it.")
        found = tool_for(call.recipient, self.tools)
        if found is None:
            raise ToolError(f"There is no tool {call.recipient!r}. The tools are: {names}.")
        tool, recipient = found
        return tool.process(replace(call.message, recipient=recipient))

    def _close(self) -> None:
        """Complete the conversation, so that it can continue."""
        last = self.messages[-1]
        if last.role == "assistant" and last.recipient is not None:
            last = _result(last, "Error: The call was stopped.")
            self.messages.append(last)
        if last.role != "assistant" or last.channel != "final":
            # Rendering drops the reasoning only before a final.
            self.messages.append(Message("assistant", "", channel="final"))


def _result(call: Message, text: str) -> Message:
    return result_message(call.recipient, text, channel=call.channel)


def _names(tools: Sequence[Tool]) -> list[str]:
    """Return the recipients that can be called."""
    return [
        f"{tool.name}.{function.name}"
        for tool in tools
        for function in tool.instruction.tools
    ] + [tool.name for tool in tools if not tool.instruction.tools]
