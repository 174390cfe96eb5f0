"""A model that says what it is told to."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import cycle
from typing import Self

from gptoss_mlx.errors import ContextError
from gptoss_mlx.generation.prompt_cache import common_prefix
from gptoss_mlx.generation.request import GeneratedToken, Request
from gptoss_mlx.generation.stops import StopDetector
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.render import render_message
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, load_tokenizer

Step = Sequence[Message] | Sequence[int] | Sequence[int | BaseException]


class Scripted:
    """Plays one step of its script each time that it is asked to go on.

    Attributes:
        prompts: What it was asked to continue, as text.
        requests: The same, whole.
    """

    def __init__(
        self,
        *steps: Step,
        context_tokens: int = 131_072,
        remembers: bool = False,
        forever: bool = False,
    ) -> None:
        """Learn what to say: messages, the last of which ends the step, or token ids.

        An exception among these is raised in its place. One that ``remembers`` counts the
        cached tokens of a model that has read the last prompt and answer. ``forever``
        begins the script anew when it is over.
        """
        self.context_tokens = context_tokens
        self.prompts: list[str] = []
        self.requests: list[Request] = []
        self.read: list[int] | None = [] if remembers else None
        said = [written(step) for step in steps]
        self._steps: Iterator[list[int | BaseException]]
        self._steps = cycle(said) if forever else iter(said)

    def __call__(self, request: Request) -> Said:
        """Say the next step."""
        if len(request.prompt) >= self.context_tokens:
            raise ContextError("A conversation must be shorter.")
        self.prompts.append(load_tokenizer().decode(request.prompt))
        self.requests.append(request)
        return Said(self, request, next(self._steps))


class Said:
    """A step of a script, token by token."""

    def __init__(
        self, model: Scripted, request: Request, step: list[int | BaseException]
    ) -> None:
        self.cached_tokens = 0
        self._model = model
        self._steps = self._say(request, step)

    def __iter__(self) -> Self:
        """It is an iterator."""
        return self

    def __next__(self) -> GeneratedToken:
        """Say the next token."""
        return next(self._steps)

    def close(self) -> None:
        """Say no more."""
        self._steps.close()

    def _say(
        self, request: Request, step: list[int | BaseException]
    ) -> Generator[GeneratedToken]:
        prompt, read = list(request.prompt), self._model.read
        if read is not None:
            self.cached_tokens = common_prefix(read, prompt)
            read[:] = prompt
        if request.progress is not None:
            request.progress(len(prompt), len(prompt))
        stops = StopDetector(request.stops, self._model.context_tokens - len(prompt))
        for count, token in enumerate(step, start=1):
            if isinstance(token, BaseException):
                raise token
            if read is not None:
                read.append(token)
            reason = stops.push(token, count)
            yield GeneratedToken(token, finish_reason=reason)
            if reason == "stop":
                raise AssertionError("asked for a token after the last")
            if reason is not None:
                return


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
