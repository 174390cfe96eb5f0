"""A loaded model with all that it takes to answer."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.conversation.opening import opening_messages
from gptoss_mlx.conversation.read import read_conversation
from gptoss_mlx.conversation.turn import EndReason, TurnEnd, TurnEvent, Usage, run_turn
from gptoss_mlx.generation.engine import Progress
from gptoss_mlx.generation.sampling import Sampling
from gptoss_mlx.generation.token_source import ModelSource, open_source
from gptoss_mlx.harmony.messages import Effort, Message, channel_text
from gptoss_mlx.harmony.parse import Delta
from gptoss_mlx.model_choice import open_model
from gptoss_mlx.tokenizer import Tokenizer, load_tokenizer
from gptoss_mlx.tools.tool import Tool

__all__ = ["LLM", "Answer", "load"]


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


class LLM:
    """A model, its vocabulary, and what it has read last.

    It answers one conversation at a time. One that goes on where the last answer ended
    costs only what is new. For a model that calls your functions see ``Functions`` in
    ``gptoss_mlx.tools``.

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
            ValueError: There is no such effort.
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
        messages: Sequence[Message | Mapping[str, object]],
        *,
        effort: Effort | None = None,
        tools: Sequence[Tool] = (),
        max_tokens: int | None = None,
    ) -> Answer:
        """Answer a conversation, and run what tools the model calls on the way.

        To go on, ask again with the same messages, ``answer.messages`` and what is next.

        Args:
            messages: As for ``stream``. They stay as they are.
            effort: How long to reason; medium unless a system ``Message`` says otherwise.
            tools: What the model may call, and is told of.
            max_tokens: The most it may write, reasoning included.

        Raises:
            ContextError: The messages leave no room for an answer.
            HarmonyError: A mapping is no message.
            ValueError: As for ``stream``.
        """
        conversation = read_conversation(messages, effort=effort, tools=tools)
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
        messages: Sequence[Message | Mapping[str, object]],
        *,
        effort: Effort | None = None,
        tools: Sequence[Tool] = (),
        max_tokens: int | None = None,
    ) -> Generator[Delta]:
        """Answer a conversation piece by piece, each with its channel.

        Args:
            messages: Harmony messages, or mappings with ``role`` and ``content`` as
                OpenAI's API has them. A ``system`` mapping is the instructions. A system
                ``Message`` in front is left as it is; else one is made.
            effort: How long to reason; medium unless a system ``Message`` says otherwise.
            tools: What the model may call, and is told of.
            max_tokens: The most it may write, reasoning included.

        Raises:
            ContextError: The messages leave no room for an answer.
            HarmonyError: A mapping is no message.
            ValueError: There is no such effort; or a system ``Message`` stands in front
                beside one, or beside a built-in tool that it does not tell of.
        """
        conversation = read_conversation(messages, effort=effort, tools=tools)
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
) -> LLM:
    """Load a model, ready to answer.

    Args:
        name_or_path: ``20b``, ``120b`` or its repository's id, ``demo``, a name that
            ``gptoss-mlx models`` lists, or a folder. None: 20b or 120b if it is on this
            machine, else demo.
        sampling: How tokens are drawn. None: as the model's generation_config.json says.
        say: Hears a line about anything that takes over a second.

    Raises:
        ModelNotFoundError: There is no such model.
        GptOssError: The model cannot be loaded.
    """
    checkpoint = open_model(name_or_path, say)
    source = open_source(checkpoint)
    if sampling is not None:
        source.sampling = sampling
    return LLM(checkpoint.folder, source, load_tokenizer())
