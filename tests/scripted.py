"""A model that says what it is told to."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import cycle

from gptoss_mlx.errors import ContextError
from gptoss_mlx.generation.engine import STOP_TOKENS, GeneratedToken, Progress
from gptoss_mlx.generation.prompt_cache import common_prefix
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.render import render_message
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer

Step = Sequence[Message] | Sequence[int] | Sequence[int | BaseException]


class Scripted:
    """Plays one step of its script each time that it is asked to go on.

    Attributes:
        prompts: What it was asked to continue, as text.
        cached_tokens: As of a model that remembers the last prompt and answer; 0 unless it
            was made to. It is known once the first token is there.
    """

    def __init__(
        self,
        *steps: Step,
        context_tokens: int = 131_072,
        remembers: bool = False,
        forever: bool = False,
    ) -> None:
        """Learn what to say: messages, the last of which ends the step, or token ids.

        An exception among these is raised in its place. ``forever`` begins the script anew
        when it is over.
        """
        self.context_tokens = context_tokens
        self.prompts: list[str] = []
        self.cached_tokens = 0
        self._read: list[int] | None = [] if remembers else None
        said = [written(step) for step in steps]
        self._steps: Iterator[list[int | BaseException]]
        self._steps = cycle(said) if forever else iter(said)

    def __call__(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[GeneratedToken]:
        """Say the next step."""
        if len(prompt) >= self.context_tokens:
            raise ContextError("A conversation must be shorter.")
        self.prompts.append(load_tokenizer().decode(prompt))
        room = self.context_tokens - len(prompt)
        return self._say(next(self._steps), list(prompt), room, max_tokens, progress)

    def _say(
        self,
        step: list[int | BaseException],
        prompt: list[int],
        room: int,
        max_tokens: int | None,
        progress: Progress | None,
    ) -> Generator[GeneratedToken]:
        if self._read is not None:
            self.cached_tokens = common_prefix(self._read, prompt)
            self._read = prompt
        if progress is not None:
            progress(len(prompt), len(prompt))
        for count, token in enumerate(step, start=1):
            if isinstance(token, BaseException):
                raise token
            if self._read is not None:
                self._read.append(token)
            if token in STOP_TOKENS:
                yield GeneratedToken(token, finish_reason="stop")
                raise AssertionError("asked for a token after the last")
            if count == max_tokens:
                yield GeneratedToken(token, finish_reason="length")
                return
            if count == room:
                yield GeneratedToken(token, finish_reason="context")
                return
            yield GeneratedToken(token)


def written(step: Step) -> list[int | BaseException]:
    """What the model writes after ``<|start|>assistant``."""
    tokens: list[int | BaseException] = []
    for item in step:
        if isinstance(item, Message):
            tokens += render_message(item, load_tokenizer())
        else:
            tokens.append(item)
    if step and isinstance(step[0], Message):
        # The prompt has <|start|>assistant; a step that calls nothing ends with return.
        tokens = tokens[2:]
        if tokens[-1] == SPECIAL_TOKENS["<|end|>"]:
            tokens[-1] = SPECIAL_TOKENS["<|return|>"]
    return tokens


def turn(thought: str, answer: str) -> list[Message]:
    """Write a step that reasons and answers."""
    return [
        Message("assistant", thought, channel="analysis"),
        Message("assistant", answer, channel="final"),
    ]


def call(recipient: str, content: str, *, thought: str = "") -> list[Message]:
    """Write a step that calls a tool."""
    said = Message(
        "assistant",
        content,
        channel="commentary",
        recipient=recipient,
        content_type="<|constrain|>json",
    )
    return [Message("assistant", thought, channel="analysis"), said] if thought else [said]
