"""The answer of a turn: which texts are for the user, for tools, or reasoning.

``ask``, ``stream``, chat, a pipe, ``Answer.text`` and ``--json`` all use ``AnswerText``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from gptoss_mlx.conversation.turn_events import EndReason, ToolCall, TurnEnd, TurnEvent
from gptoss_mlx.conversation.usage import Usage
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta

__all__ = [
    "Answer",
    "AnswerPiece",
    "AnswerText",
    "Audience",
    "audience",
    "collect",
    "pieces",
]

Audience = Literal["user", "reasoning", "tool"]
"""The addressee of a text; ``reasoning`` is addressed to nobody."""

BETWEEN = "\n\n"
"""The separator of two messages in one text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer. Printed, it is the text for the user.

    Attributes:
        text: The text for the user.
        reasoning: Raw reasoning: OpenAI asks not to show it by default.
        messages: All messages of the turn, calls and results included.
        reason: Why the turn ended: ``stop`` if the model was done.
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


@dataclass(frozen=True, slots=True)
class AnswerPiece(Delta):
    """A piece of a message, and of the answer.

    Attributes:
        answer: The text that it adds to the answer, which begins with an empty line in a
            second message. Empty in reasoning, calls and what announces a call.
    """

    answer: str = ""


def audience(piece: Delta | Message) -> Audience:
    """Return the addressee of a piece of an assistant's message.

    Unknown channels are for the user, so that no answer is lost.
    """
    if piece.recipient is not None:
        return "tool"
    return "reasoning" if piece.channel == "analysis" else "user"


class AnswerText:
    """Splits a turn into answer and reasoning, piece by piece.

    Text for the user on ``commentary`` is part of the answer unless a call follows: then it
    only announced the call. So it is held back until the next event decides.

    Attributes:
        text: The answer so far.
        reasoning: The reasoning so far.
    """

    def __init__(self) -> None:
        self._answer = _Text()
        self._reasoning = _Text()
        self._held: list[Delta] = []
        self._step = 0  # of the turn: each call begins a new step

    @property
    def text(self) -> str:  # noqa: D102 - the class describes it
        return self._answer.text

    @property
    def reasoning(self) -> str:  # noqa: D102 - the class describes it
        return self._reasoning.text

    def push(self, event: TurnEvent) -> str:
        """Take the next event; return the text it adds to the answer."""
        return "".join(piece.answer for piece in self.pieces(event))

    def pieces(self, event: TurnEvent) -> list[AnswerPiece]:
        """Take the next event; return the pieces whose place is known now."""
        match event:
            case ToolCall():
                announced = self._take_held(is_answer=False)
                self._step += 1
                return announced
            case TurnEnd():
                return self.rest()
            case Delta() if audience(event) == "tool":
                return [*self._take_held(is_answer=False), _piece(event)]
            case Delta() if audience(event) == "reasoning":
                self._reasoning.add(event, self._step)
                return [_piece(event)]
            case Delta() if audience(event) == "user":
                self._held.append(event)
                if event.channel != "commentary":
                    return self.rest()
        return []

    def finish(self) -> str:
        """Return the held-back text, unless a call follows."""
        return "".join(piece.answer for piece in self.rest())

    def rest(self) -> list[AnswerPiece]:
        """Return the held-back pieces, unless a call follows."""
        return self._take_held(is_answer=True)

    def _take_held(self, *, is_answer: bool) -> list[AnswerPiece]:
        held, self._held = self._held, []
        return [
            _piece(delta, self._answer.add(delta, self._step) if is_answer else "")
            for delta in held
        ]


def _piece(delta: Delta, answer: str = "") -> AnswerPiece:
    return AnswerPiece(
        delta.channel, delta.text, delta.recipient, delta.role, delta.index, answer
    )


class _Text:
    """The texts of several messages, joined."""

    def __init__(self) -> None:
        self.text = ""
        self._last: tuple[int, int] | None = None

    def add(self, delta: Delta, step: int) -> str:
        """Append a piece; return the text that was appended."""
        message = (step, delta.index)
        parted = self._last not in (None, message)
        self._last = message
        added = BETWEEN + delta.text if parted else delta.text
        self.text += added
        return added


def pieces(turn: Generator[TurnEvent]) -> Generator[AnswerPiece]:
    """Stream a turn's text, each piece with what it adds to the answer.

    A piece on ``commentary`` for the user comes when it is known whether a call follows.

    Args:
        turn: As in ``collect``.

    Raises:
        Exception: Raised by the turn, after the pieces that were held back.
    """
    answer = AnswerText()
    with closing(turn):
        try:
            for event in turn:
                yield from answer.pieces(event)
        except Exception:
            yield from answer.rest()
            raise


def collect(
    turn: Generator[TurnEvent],
    *,
    on_event: Callable[[TurnEvent], None] = lambda event: None,
    on_text: Callable[[str], None] = lambda text: None,
) -> Answer:
    """Run a turn to its end, and return its answer.

    Args:
        turn: From ``run_turn`` or ``Conversation.stream``. It is closed.
        on_event: Called with each event.
        on_text: Called with each piece of the answer, after the event that completes it;
            also with the last piece of a turn that is interrupted.

    Raises:
        Exception: Raised by the turn or a callback.
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
