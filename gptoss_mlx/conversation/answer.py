"""What an answer is: to whom each piece of a turn speaks, and what the user is given.

``ask``, chat, a pipe, ``Answer.text`` and ``--json`` all read a turn by ``AnswerText``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from gptoss_mlx.conversation.turn import EndReason, ToolCall, TurnEnd, TurnEvent
from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta

__all__ = ["Answer", "AnswerText", "Audience", "audience", "collect"]

Audience = Literal["user", "reasoning", "tool"]
"""To whom a text speaks; ``reasoning`` to the model itself."""

BETWEEN = "\n\n"
"""What parts two messages that are one text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered. Printed, it is the text for the user.

    Attributes:
        text: What is meant for the user.
        reasoning: Raw: OpenAI asks not to show it unasked.
        messages: All that the turn added to the conversation, calls and results included.
        reason: Why it ended: ``stop`` where the model was done.
        usage: Tokens and seconds.
    """

    text: str
    reasoning: str
    messages: tuple[Message, ...]
    reason: EndReason
    usage: Usage

    def __str__(self) -> str:
        """Return the text for the user."""
        return self.text


def audience(piece: Delta | Message) -> Audience:
    """Tell to whom a piece of an assistant's message speaks.

    A channel that nobody knows is the user's: nothing that may be the answer is lost.
    """
    if piece.recipient is not None:
        return "tool"
    return "reasoning" if piece.channel == "analysis" else "user"


class AnswerText:
    """Picks the answer and the reasoning out of a turn, piece by piece.

    What is said to the user on ``commentary`` is part of the answer unless a call follows:
    then it only announced that. So it is held back until the one or the other is known.

    Attributes:
        text: The answer so far.
        reasoning: The reasoning so far.
    """

    def __init__(self) -> None:
        self._answer = _Text()
        self._reasoning = _Text()
        self._held: list[Delta] = []
        self._step = 0  # of the turn: each call begins another

    @property
    def text(self) -> str:  # noqa: D102 - the class describes it
        return self._answer.text

    @property
    def reasoning(self) -> str:  # noqa: D102 - the class describes it
        return self._reasoning.text

    def push(self, event: TurnEvent) -> str:
        """Take the next event; return what it adds to the answer."""
        match event:
            case ToolCall():
                self._held.clear()
                self._step += 1
            case TurnEnd():
                return self.finish()
            case Delta() if audience(event) == "tool":
                self._held.clear()
            case Delta() if audience(event) == "reasoning":
                self._reasoning.add(event, self._step)
            case Delta() if audience(event) == "user":
                self._held.append(event)
                if event.channel != "commentary":
                    return self.finish()
        return ""

    def finish(self) -> str:
        """Return what was held back, where no call follows."""
        added = [self._answer.add(delta, self._step) for delta in self._held]
        self._held.clear()
        return "".join(added)


class _Text:
    """The texts of several messages as one."""

    def __init__(self) -> None:
        self.text = ""
        self._last: tuple[int, int] | None = None

    def add(self, delta: Delta, step: int) -> str:
        """Append a piece; return what was appended."""
        message = (step, delta.index)
        parted = self._last not in (None, message)
        self._last = message
        added = BETWEEN + delta.text if parted else delta.text
        self.text += added
        return added


def collect(
    turn: Generator[TurnEvent],
    *,
    on_event: Callable[[TurnEvent], None] = lambda event: None,
    on_text: Callable[[str], None] = lambda text: None,
) -> Answer:
    """Let a turn come to its end, and return what it answered.

    Args:
        turn: From ``run_turn`` or ``Conversation.stream``. It is closed.
        on_event: Called with each event.
        on_text: Called with each piece of the answer, after the event that completes it;
            also with the last one of a turn that is broken off.

    Raises:
        Exception: What the turn or a callback raises.
    """
    answer = AnswerText()
    with closing(turn):
        try:
            for event in turn:
                on_event(event)
                if text := answer.push(event):
                    on_text(text)
                if isinstance(event, TurnEnd):
                    return Answer(
                        text=answer.text,
                        reasoning=answer.reasoning,
                        messages=event.messages,
                        reason=event.reason,
                        usage=event.usage,
                    )
        finally:
            if text := answer.finish():
                on_text(text)
    raise ValueError("[collect] turn must end with a TurnEnd but does not.")
