"""The conversation by pipe."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TextIO

from gptoss_mlx.chat.commands import Command, Next, read_line, run_command
from gptoss_mlx.chat.controls import without_controls
from gptoss_mlx.chat.notices import ContextNotice, ending
from gptoss_mlx.chat.session import Session
from gptoss_mlx.errors import ContextError
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.tools.loop import TurnEnd

__all__ = ["answer_lines"]


def answer_lines(
    session: Session, lines: Iterable[str], output: TextIO, notes: TextIO
) -> bool:
    """Answer every line, in turn, and write nothing but the answers.

    Args:
        session: The conversation; every answer knows the earlier ones.
        lines: One question or command each. Empty ones are skipped.
        output: Gets each answer as it is written, and a newline after it. A question that
            there is no room for gets the newline alone.
        notes: Gets everything else.

    Returns:
        Whether there was room for every question.
    """
    chat = _Pipe(session, output, notes)
    answered = True
    for line in lines:
        read = read_line(line)
        if isinstance(read, Command):
            if run_command(read, session, chat.note) is Next.QUIT:
                break
        elif read:
            answered &= chat.answer(read)
    return answered


class _Pipe:
    """Where answers and notes go."""

    def __init__(self, session: Session, output: TextIO, notes: TextIO) -> None:
        self._session = session
        self._output = output
        self._notes = notes
        self._notice = ContextNotice()
        # Stdout may be a terminal even if stdin is none.
        self._clean = without_controls if output.isatty() else str

    def note(self, line: str) -> None:
        """Write a line that is no answer."""
        self._notes.write(f"{without_controls(line)}\n")
        self._notes.flush()

    def answer(self, question: str) -> bool:
        """Answer a question; tell whether there was room for it."""
        try:
            self._stream(question)
        except ContextError as error:
            self.note(f"Error: {error}")
            self.note(f"Hint: {error.hint}")
            return False
        finally:
            self._write("\n")
        return True

    def _stream(self, question: str) -> None:
        limit = self._session.source.context_tokens
        last: Delta | None = None
        with closing(self._session.ask(question)) as turn:
            for event in turn:
                if isinstance(event, Delta) and _is_answer(event):
                    if last is not None and event.index != last.index:
                        self._write("\n")
                    last = event
                    self._write(self._clean(event.text))
                elif isinstance(event, TurnEnd):
                    said = ending(event, context_tokens=limit, answered=last is not None)
                    filling = self._notice.after(event, context_tokens=limit)
                    for note in (said, filling):
                        if note is not None:
                            self.note(note)

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


def _is_answer(delta: Delta) -> bool:
    """Tell what is for the user. A channel that nobody knows is, as in a terminal."""
    called = delta.recipient not in (None, "all")
    return not called and delta.channel not in ("analysis", "commentary")
