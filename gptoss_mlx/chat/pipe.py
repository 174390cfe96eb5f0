"""The conversation by pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TextIO

from gptoss_mlx.chat.in_library import is_verified, passages_alone, sources_after
from gptoss_mlx.chat.notices import ContextNotice, ending
from gptoss_mlx.chat.streaming_note import StreamingNote
from gptoss_mlx.controls import without_controls
from gptoss_mlx.conversation.answer import collect
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import ContextError, DeviceError
from gptoss_mlx.grounding.answer import UNVERIFIED
from gptoss_mlx.model.streaming import Streaming

__all__ = ["answer_lines"]


def answer_lines(
    conversation: Conversation,
    lines: Iterable[str],
    output: TextIO,
    say: Callable[[str], None],
    *,
    streaming: Streaming | None = None,
) -> int:
    """Answer every line, in turn, and write nothing but the answers.

    Args:
        conversation: The conversation; every answer knows the earlier ones.
        lines: One question each, whatever it begins with. Empty ones are skipped.
        output: Gets each answer as it is written, and a newline after it. A question that
            there is no room for gets the newline alone; an answer that the device breaks
            off ends where it is.
        say: Called with a line that is no answer.
        streaming: The model's, if it streams: what that cost is said after each answer.

    Returns:
        The exit status: 1 if a question got no whole answer; otherwise UNVERIFIED if one
        was answered from files without a verified citation; otherwise 0.
    """
    chat = _Pipe(conversation, output, say, streaming)
    found = {chat.answer(line.strip()) for line in lines if line.strip()}
    return next((status for status in (1, UNVERIFIED) if status in found), 0)


class _Pipe:
    """Where answers and notes go."""

    def __init__(
        self,
        conversation: Conversation,
        output: TextIO,
        say: Callable[[str], None],
        streaming: Streaming | None,
    ) -> None:
        self._conversation = conversation
        self._output = output
        self._say = say
        self._notice = ContextNotice()
        self._streamed = StreamingNote(streaming)

    def answer(self, question: str) -> int:
        """Answer a question; return the exit status for it."""
        notes: list[str] = []  # said after the newline: both may go to one terminal
        try:
            return self._stream(question, notes)
        except (ContextError, DeviceError) as error:
            notes += [f"Error: {error}", f"Hint: {error.hint}"]
            return 1
        finally:
            self._write("\n")
            for note in notes:
                self._say(note)

    def _stream(self, question: str, notes: list[str]) -> int:
        """Write the answer as it comes; return the exit status for it.

        Args:
            question: One line.
            notes: Gets the lines that are no answer.
        """
        alone = passages_alone(self._conversation, question)
        if alone is not None:
            self._say(alone[0])
            self._write("\n".join(alone[2:]))
            return UNVERIFIED
        limit = self._conversation.source.context_tokens
        self._streamed.begin()
        answer = collect(
            self._conversation.stream(question),
            on_text=lambda text: self._write(without_controls(text)),
        )
        answered = bool(answer.text.strip())
        if sources := sources_after(self._conversation):
            self._write("\n\n" * answered + "\n".join(sources))
        found = (
            ending(answer.reason, context_tokens=limit, answered=answered),
            self._notice.after(answer.usage, context_tokens=limit),
            self._streamed.after(),
        )
        notes += [note for note in found if note is not None]
        if answer.reason != "stop" or not answered:
            return 1
        return 0 if is_verified(self._conversation) else UNVERIFIED

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()
