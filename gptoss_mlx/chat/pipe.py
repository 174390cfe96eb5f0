"""The conversation by pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TextIO

from gptoss_mlx.chat.notices import ContextNotice, ending
from gptoss_mlx.controls import without_controls
from gptoss_mlx.conversation.answer import collect
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import ContextError, DeviceError

__all__ = ["answer_lines"]


def answer_lines(
    conversation: Conversation,
    lines: Iterable[str],
    output: TextIO,
    say: Callable[[str], None],
) -> bool:
    """Answer every line, in turn, and write nothing but the answers.

    Args:
        conversation: The conversation; every answer knows the earlier ones.
        lines: One question each, whatever it begins with. Empty ones are skipped.
        output: Gets each answer as it is written, and a newline after it. A question that
            there is no room for gets the newline alone; an answer that the device breaks
            off ends where it is.
        say: Called with a line that is no answer.

    Returns:
        Whether every question got a whole answer.
    """
    chat = _Pipe(conversation, output, say)
    answered = True
    for line in lines:
        question = line.strip()
        if question:
            answered &= chat.answer(question)
    return answered


class _Pipe:
    """Where answers and notes go."""

    def __init__(
        self, conversation: Conversation, output: TextIO, say: Callable[[str], None]
    ) -> None:
        self._conversation = conversation
        self._output = output
        self._say = say
        self._notice = ContextNotice()

    def answer(self, question: str) -> bool:
        """Answer a question; tell whether the answer is whole."""
        try:
            return self._stream(question)
        except (ContextError, DeviceError) as error:
            self._say(f"Error: {error}")
            self._say(f"Hint: {error.hint}")
            return False
        finally:
            self._write("\n")

    def _stream(self, question: str) -> bool:
        """Write the answer as it comes; tell whether it is whole."""
        limit = self._conversation.source.context_tokens
        answer = collect(
            self._conversation.stream(question),
            on_text=lambda text: self._write(without_controls(text)),
        )
        answered = bool(answer.text.strip())
        for note in (
            ending(answer.reason, context_tokens=limit, answered=answered),
            self._notice.after(answer.usage, context_tokens=limit),
        ):
            if note is not None:
                self._say(note)
        return answer.reason == "stop" and answered

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()
