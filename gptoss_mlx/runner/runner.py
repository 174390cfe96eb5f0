"""A loaded model with all that it takes to answer."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from gptoss_mlx.generation.engine import Progress
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.token_source import ModelSource, open_source
from gptoss_mlx.harmony.json_form import conversation_from_json
from gptoss_mlx.harmony.messages import Effort, Message, SystemContent, channel_text
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.runner.model_choice import model_folder
from gptoss_mlx.tokenizer import Tokenizer, load_tokenizer
from gptoss_mlx.tools.loop import EndReason, TurnEnd, TurnEvent, Usage, run_turn
from gptoss_mlx.tools.opening import opening_messages
from gptoss_mlx.tools.tool import Tool

__all__ = ["Answer", "Runner", "load"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered. Printed, it is the final text.

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
        """Return the final text."""
        return self.text


class Runner:
    """A model, its vocabulary, and what it has read last.

    It answers one conversation at a time. One that goes on where the last answer ended
    costs only what is new.

    Attributes:
        folder: Where the model lies.
        source: The model; ``source.sampling`` is how tokens are drawn.
        tokenizer: Its vocabulary.
    """

    def __init__(self, folder: Path, source: ModelSource, tokenizer: Tokenizer) -> None:
        self.folder = folder
        self.source = source
        self.tokenizer = tokenizer

    def ask(
        self,
        question: str,
        *,
        effort: Effort = "medium",
        instructions: str | None = None,
        tools: Sequence[Tool] = (),
        max_tokens: int | None = None,
    ) -> Answer:
        """Answer one question.

        Args:
            question: Any text.
            effort: How long to reason.
            instructions: What is elsewhere called the system prompt.
            tools: What the model may call.
            max_tokens: The most it may write, reasoning included.

        Raises:
            ContextError: The question leaves no room for an answer.
        """
        messages = opening_messages(
            effort=effort,
            instructions=instructions,
            current_date=datetime.date.today(),
            tools=tools,
        )
        messages.append(Message("user", question))
        return self.answer(messages, tools=tools, max_tokens=max_tokens)

    def answer(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        *,
        tools: Sequence[Tool] = (),
        max_tokens: int | None = None,
    ) -> Answer:
        """Answer a conversation; see ``stream``."""
        conversation = _conversation(messages, tools)
        begun = len(conversation)
        for event in self.turn(conversation, tools=tools, max_tokens=max_tokens):
            if isinstance(event, TurnEnd):
                end = event
        added = tuple(conversation[begun:])
        return Answer(
            text=channel_text(added, "final"),
            reasoning=channel_text(added, "analysis"),
            messages=added,
            reason=end.reason,
            usage=end.usage,
        )

    def stream(
        self,
        messages: Sequence[Message | Mapping[str, str]],
        *,
        tools: Sequence[Tool] = (),
        max_tokens: int | None = None,
    ) -> Generator[Delta]:
        """Answer a conversation piece by piece, each with its channel.

        Args:
            messages: Harmony messages, or mappings with ``role`` and ``content`` as
                OpenAI's API has them. Where no system message stands in front, one is
                made; a ``system`` mapping is the instructions.
            tools: What the model may call.
            max_tokens: The most it may write, reasoning included.

        Raises:
            ContextError: They leave no room for an answer.
            HarmonyError: A mapping is no message.
        """
        conversation = _conversation(messages, tools)
        turn = self.turn(conversation, tools=tools, max_tokens=max_tokens)
        with closing(turn):
            for event in turn:
                if isinstance(event, Delta):
                    yield event

    def turn(
        self,
        messages: list[Message],
        *,
        tools: Sequence[Tool] = (),
        max_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[TurnEvent]:
        """Let the conversation grow by one turn; see ``run_turn``."""
        return run_turn(
            messages,
            self.source,
            self.tokenizer,
            tools=tools,
            max_tokens=max_tokens,
            progress=progress,
        )


def load(
    name_or_path: str | os.PathLike[str] | None = None,
    *,
    sampling: Sampling | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Runner:
    """Load a model, ready to answer.

    Args:
        name_or_path: ``20b``, ``120b``, ``demo``, a name that ``gptoss-mlx models``
            lists, or a folder. None: 20b or 120b if it is on this machine, else demo.
        sampling: How tokens are drawn. None: as the model's generation_config.json says.
        say: Hears a line about anything that takes over a second.

    Raises:
        ModelNotFoundError: There is no such model.
        GptOssError: The model cannot be loaded.
    """
    folder = model_folder(name_or_path, say)
    source = open_source(folder)
    if sampling is not None:
        source.sampling = sampling
    return Runner(folder, source, load_tokenizer())


def _conversation(
    messages: Sequence[Message | Mapping[str, str]], tools: Sequence[Tool]
) -> list[Message]:
    """Read what the caller gave, and put the system message in front."""
    given: list[Message] = []
    instructions: list[str] = []
    for message in messages:
        if isinstance(message, Message):
            given.append(message)
            continue
        (read,) = conversation_from_json({"messages": [message]})
        if read.role in ("system", "developer") and isinstance(read.content, str):
            instructions.append(read.content)
        elif read.role == "assistant" and read.channel is None:
            given.append(replace(read, channel="final"))
        else:
            given.append(read)
    if given and any(isinstance(part, SystemContent) for part in given[0].parts):
        return given
    opening = opening_messages(
        instructions="\n\n".join(instructions) if instructions else None,
        current_date=datetime.date.today(),
        tools=tools,
    )
    return [*opening, *given]
