"""Shows a turn on a terminal, event by event."""

from __future__ import annotations

import time
from typing import Protocol

from gptoss_mlx.chat.blocks import BlockStream
from gptoss_mlx.chat.markdown import AnswerMarkdown
from gptoss_mlx.chat.markdown_parser import whole_blocks
from gptoss_mlx.chat.notices import ending, tokens_text
from gptoss_mlx.chat.reasoning import Reasoning
from gptoss_mlx.chat.screen import Screen
from gptoss_mlx.controls import escaped, without_controls
from gptoss_mlx.conversation.answer import AnswerText, audience
from gptoss_mlx.conversation.turn_events import ToolCall, ToolResult, TurnEnd, TurnEvent
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import Delta

__all__ = ["TurnView"]

QUIET_S = 1.0


class _Part(Protocol):
    """A message while it is being written."""

    def push(self, text: str) -> None: ...

    def finish(self) -> None: ...


class TurnView:
    """Shows a turn on a screen.

    Args:
        screen: The screen to print on.
        context_tokens: The most tokens of the model's context.
        unfolded: Whether to show the reasoning.
    """

    def __init__(self, screen: Screen, *, context_tokens: int, unfolded: bool) -> None:
        self._screen = screen
        self._context_tokens = context_tokens
        self._unfolded = unfolded
        self._part: _Part | None = None
        self._key: object = None
        self._answer = AnswerText()
        self._waiting_since = time.monotonic()

    def progress(self, done: int, total: int) -> None:
        """Show the progress of a long prefill."""
        spent = time.monotonic() - self._waiting_since
        if done < total and spent * total / max(done, 1) > QUIET_S:
            self._screen.show_note(f"Prefilling {done:,} of {total:,} tokens")

    def tick(self) -> None:
        """Show that the model is generating, if nothing else was shown for long."""
        spent = time.monotonic() - self._waiting_since
        if self._part is None and spent > QUIET_S:
            self._screen.show_note(f"Generating… {spent:.1f} s")

    def toggle(self) -> None:
        """Unfold the reasoning, or fold it, for the rest of the turn."""
        self._unfolded = not self._unfolded
        if isinstance(self._part, Reasoning):
            if self._unfolded:
                self._part.unfold()
            else:
                self._part.fold()

    def show(self, event: TurnEvent) -> None:
        """Show an event."""
        self._answer.push(event)
        match event:
            case Delta():
                self._write(event)
            case ToolCall(call):
                self.finish()
                self._note_call(call)
            case ToolResult(_, result, refused):
                text = without_controls(result.text)
                self._screen.note(text if refused else f"result: {text}", cut=True)
            case TurnEnd():
                self.finish()
                said = ending(
                    event.reason,
                    context_tokens=self._context_tokens,
                    answered=bool(self._answer.text.strip()),
                )
                if said is not None:
                    style = "dim" if event.reason == "stop" else "yellow"
                    self._screen.note(said, style=style)
        self._waiting_since = time.monotonic()

    def finish(self) -> None:
        """Print everything that is still held back."""
        if self._part is not None:
            self._part.finish()
            self._part = None

    def stop(self) -> None:
        """Print the answer so far, and that the user stopped it."""
        self.finish()
        self._screen.note("Stopped.")

    def _write(self, delta: Delta) -> None:
        key = (delta.channel, delta.recipient, delta.index)
        if self._part is None or key != self._key:
            self.finish()
            self._part, self._key = self._begin(delta), key
        self._part.push(without_controls(delta.text))

    def _begin(self, delta: Delta) -> _Part:
        match audience(delta):
            case "tool":
                return _WrittenCall(self._screen, escaped(delta.recipient or ""))
            case "reasoning":
                return Reasoning(self._screen, unfolded=self._unfolded)
            case "user":
                return BlockStream(self._screen, render=AnswerMarkdown, whole=whole_blocks)

    def _note_call(self, call: Message) -> None:
        name, arguments = escaped(call.recipient or "nothing"), without_controls(call.text)
        self._screen.note(f"called {name}({arguments})", cut=True)


class _WrittenCall:
    """A call while its arguments are written, which may be a whole program."""

    def __init__(self, screen: Screen, name: str) -> None:
        self._screen = screen
        self._name = name
        self._tokens = 0

    def push(self, text: str) -> None:
        self._tokens += 1
        self._screen.show_note(f"Calling {self._name}, {tokens_text(self._tokens)}")

    def finish(self) -> None:
        self._screen.show(None)
