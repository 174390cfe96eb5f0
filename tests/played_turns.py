"""Turns of a scripted model, played to their end and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

from scripted import Scripted, call, turn, written

from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.conversation.turn import run_turn
from gptoss_mlx.conversation.turn_events import TurnEnd, TurnEvent
from gptoss_mlx.harmony.messages import Message, ToolDescription, ToolNamespace
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer
from gptoss_mlx.tools.tool import Tool

WEATHER = ToolNamespace(
    "functions", (ToolDescription("weather", "Tells it."), ToolDescription("clock", ""))
)


@dataclass
class Answering(Tool):
    """Says the same to every call, or raises it, and remembers the calls."""

    instruction: ToolNamespace = WEATHER
    answer: str | BaseException = "20 °C"
    calls: list[Message] = field(default_factory=list)

    def process(self, call: Message) -> str:
        """Answer."""
        self.calls.append(call)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class Counting(Answering):
    """Gives another answer each time."""

    def process(self, call: Message) -> str:
        """Count."""
        super().process(call)
        return str(len(self.calls))


def tokens_of(text: str) -> list[int]:
    """Encode a text in which special tokens are meant as such."""
    tokens: list[int] = []
    for piece in re.split(r"(<\|\w+\|>)", text):
        special = SPECIAL_TOKENS.get(piece)
        tokens += load_tokenizer().encode(piece) if special is None else [special]
    return tokens


def said(step: list[Message]) -> list[int]:
    """What a model that writes these messages draws."""
    return [token for token in written(step) if isinstance(token, int)]


@dataclass
class Played:
    """A turn that was played to its end, and what came of it."""

    source: Scripted
    messages: list[Message]
    events: list[TurnEvent]

    @property
    def end(self) -> TurnEnd:
        """The last event."""
        assert isinstance(self.events[-1], TurnEnd)
        return self.events[-1]

    @property
    def results(self) -> list[str]:
        """What the tools, or the loop in their place, answered."""
        return [str(m.content) for m in self.messages if m.role == "tool"]

    def shown(self, channel: str) -> str:
        """What streamed on a channel, calls left out."""
        return "".join(
            event.text
            for event in self.events
            if isinstance(event, Delta) and event.channel == channel
            if event.recipient is None
        )


def asked(*tools: Tool) -> list[Message]:
    """A conversation that waits for its first answer."""
    return [*opening_messages(tools=tools), Message("user", "Weather?")]


def check_sound(messages: list[Message], before: list[Message]) -> None:
    """The conversation can go on: calls have results, it ends in a final, it renders."""
    assert messages[: len(before)] == before
    for message, following in pairwise(messages[len(before) :]):
        if message.role == "assistant" and message.recipient is not None:
            assert (following.role, following.recipient) == ("tool", "assistant")
        else:
            assert following.role == "assistant"
    last = messages[-1]
    assert (last.role, last.channel, last.recipient) == ("assistant", "final", None)
    more = [*messages, Message("user", "And now?")]
    assert render_conversation(more, load_tokenizer())


def play(
    *steps: str | list[Message],
    tools: tuple[Tool, ...] = (),
    context_tokens: int = 131_072,
    forever: bool = False,
    max_tokens: int | None = None,
    max_calls: int = 64,
) -> Played:
    """Play a turn to its end; check what holds of every turn."""
    source = Scripted(
        *(tokens_of(step) if isinstance(step, str) else step for step in steps),
        context_tokens=context_tokens,
        remembers=True,
        forever=forever,
    )
    messages = asked(*tools)
    events = list(
        run_turn(
            messages,
            source,
            load_tokenizer(),
            tools=tools,
            max_tokens=max_tokens,
            max_calls=max_calls,
        )
    )
    check_sound(messages, asked(*tools))
    return Played(source, messages, events)


DONE = turn("", "Done.")[1:]

BUSY = [
    Message("assistant", "Hm.", channel="analysis"),
    Message("assistant", "I ask.", channel="commentary"),
    *call("functions.weather", '{"city": "Oslo"}'),
]
