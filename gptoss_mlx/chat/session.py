"""One conversation: it keeps the messages and streams the answers."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Generator, Iterator

from gptoss_mlx.harmony.messages import (
    Effort,
    Message,
    developer_message,
    system_message,
)
from gptoss_mlx.harmony.parse import Delta, StreamParser
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import Tokenizer

__all__ = ["Session", "TokenSource"]

TokenSource = Callable[[list[int]], Iterator[int]]
"""Continues a prompt: token ids in, token ids out."""


class Session:
    """A conversation with a model.

    Attributes:
        messages: All of them, from the system message to the last answer.
    """

    def __init__(
        self,
        tokens: TokenSource,
        tokenizer: Tokenizer,
        *,
        effort: Effort = "medium",
        instructions: str | None = None,
        current_date: datetime.date | None = None,
    ) -> None:
        """Begin a conversation.

        Args:
            tokens: The model. A function, so that tests need none.
            tokenizer: The model's vocabulary.
            effort: How long the model is to reason.
            instructions: What is elsewhere called the system prompt.
            current_date: What the model is told. None tells it nothing.
        """
        self._tokens = tokens
        self._tokenizer = tokenizer
        self.messages = [system_message(effort=effort, current_date=current_date)]
        if instructions is not None:
            self.messages.append(developer_message(instructions))

    def ask(self, question: str) -> Generator[Delta]:
        """Ask, and stream the answer, reasoning included.

        The conversation keeps the question and what was answered, also when the caller
        stops listening before the end.
        """
        self.messages.append(Message("user", question))
        prompt = render_conversation(self.messages, self._tokenizer)
        parser = StreamParser(self._tokenizer)
        answered: dict[str, str] = {}

        def keep(delta: Delta) -> Delta:
            answered[delta.channel] = answered.get(delta.channel, "") + delta.text
            return delta

        try:
            for token in self._tokens(prompt):
                for delta in parser.push(token):
                    yield keep(delta)
                if parser.done:
                    break
            for delta in parser.finish():
                yield keep(delta)
        finally:
            # Without a final message the next question would follow the last unanswered.
            answered.setdefault("final", "")
            self.messages += [
                Message("assistant", text, channel=channel)
                for channel, text in answered.items()
            ]
