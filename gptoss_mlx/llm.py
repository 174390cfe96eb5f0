"""A loaded model that answers."""

from __future__ import annotations

import datetime
import os
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.conversation.answer import AnswerPiece, pieces
from gptoss_mlx.conversation.read import Messages
from gptoss_mlx.demo.folder import DEMO
from gptoss_mlx.generation.model_source import ModelSource, load_source
from gptoss_mlx.generation.request import TokenSource
from gptoss_mlx.generation.sampling import Sampling, read_sampling_defaults
from gptoss_mlx.grounding.answer import GroundedAnswer
from gptoss_mlx.grounding.grounded_conversation import GroundedConversation
from gptoss_mlx.harmony.messages import Effort
from gptoss_mlx.library.library import Library
from gptoss_mlx.model import loading
from gptoss_mlx.model_choice import open_model
from gptoss_mlx.tokenizer import Tokenizer, load_tokenizer
from gptoss_mlx.tools.signature import ToolLike

if TYPE_CHECKING:
    import mlx.core as mx

    from gptoss_mlx.model.streaming import Streaming
    from gptoss_mlx.model.transformer import Model

__all__ = ["LLM", "load", "load_model"]


class LLM:
    """A loaded model with its vocabulary and prompt cache.

    Any thread may ask; the model answers one at a time, and the others wait their turn. A
    conversation that continues after the last answer computes only new tokens.

    Attributes:
        folder: Folder of the model.
        source: The model that answers requests.
        tokenizer: The vocabulary.
        sampling: How tokens are drawn by default.
    """

    def __init__(
        self,
        folder: Path,
        source: TokenSource,
        tokenizer: Tokenizer,
        sampling: Sampling = Sampling(),
    ) -> None:
        self.folder = folder
        self.source = source
        self.tokenizer = tokenizer
        self.sampling = sampling

    def __repr__(self) -> str:
        """Return the call that loads it, e.g. ``load('/models/gpt-oss-20b-q8')``."""
        return f"load({str(self.folder)!r})"

    @property
    def streaming(self) -> Streaming | None:
        """What is read from the files while the model answers. None: all is in memory."""
        return self.source.model.streaming if isinstance(self.source, ModelSource) else None

    def conversation(
        self,
        messages: Messages = (),
        *,
        effort: Effort | None = None,
        instructions: str | None = None,
        tools: Sequence[ToolLike] | None = (),
        library: Library | None = None,
        prefetch: bool = True,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> GroundedConversation:
        """Begin or continue a conversation.

        Args:
            messages: The messages so far: a text from the user; harmony messages;
                or mappings with ``role`` and ``content`` as in OpenAI's API; calls
                and results as in ``Answer.messages``. A ``system`` mapping is read as
                instructions. A system ``Message`` at the start is left as it is; otherwise
                one is made.
            effort: The reasoning effort; medium unless a system ``Message`` has another.
            instructions: Elsewhere called the system prompt.
            tools: Tools that the model may call: plain functions, described by
                their type hints and docstrings, or ``Tool`` objects, for one conversation.
                None: no tools.
                The demo model does not use them, which is a ``UserWarning``.
            library: Documents to answer from, with citations. The model searches and opens
                them with the ``browser`` tool. The demo model is not asked: the answer is
                the passages found.
            prefetch: Whether the library is searched for the question before the model
                writes.
            temperature: 0 is greedy. None: as in ``sampling``.
            top_p: Draw from the likeliest tokens that together have this probability.
            max_tokens: The most tokens of an answer, reasoning included.
            seed: The same seed draws the same tokens.

        Raises:
            HarmonyError: An item is not a message.
            ValueError: ``effort`` is not an effort; or it is given beside a system
                ``Message``; or that does not describe a built-in tool in ``tools``.
        """
        if tools and self.folder.name == DEMO:
            warnings.warn(
                "The demo model does not use tools: load 20b or 120b for that.",
                stacklevel=2,
            )
        sampling = self.sampling
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        if top_p is not None:
            sampling = replace(sampling, top_p=top_p)
        if seed is not None:
            sampling = replace(sampling, seed=seed)
        return GroundedConversation(
            self.source,
            self.tokenizer,
            messages,
            library=library,
            prefetch=prefetch,
            reads_files=self.folder.name != DEMO,
            effort=effort,
            instructions=instructions,
            current_date=datetime.date.today(),
            tools=tools,
            sampling=sampling,
            max_tokens=max_tokens,
        )

    def ask(
        self,
        messages: Messages,
        *,
        effort: Effort | None = None,
        instructions: str | None = None,
        tools: Sequence[ToolLike] | None = (),
        library: Library | None = None,
        prefetch: bool = True,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> GroundedAnswer:
        """Answer a question or messages, and run the tools that the model calls.

        To continue, ask again with the same messages, ``answer.messages`` and the next
        question; or keep a ``conversation``.

        Args:
            messages: As in ``conversation``, like the others. They are not changed.

        Raises:
            ContextError: The messages leave no room for an answer.
            DeviceError: The device cannot compute.
            HarmonyError: An item is not a message.
            ValueError: As in ``conversation``, or a number is out of its range.
        """
        with self.conversation(
            messages,
            effort=effort,
            instructions=instructions,
            tools=tools,
            library=library,
            prefetch=prefetch,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
        ) as conversation:
            return conversation.ask()

    def stream(
        self,
        messages: Messages,
        *,
        effort: Effort | None = None,
        instructions: str | None = None,
        tools: Sequence[ToolLike] | None = (),
        library: Library | None = None,
        prefetch: bool = True,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
    ) -> Generator[AnswerPiece]:
        """Answer a question or messages, piece by piece, each with its channel.

        ``piece.answer`` is the text that it adds to the answer: together they are the
        ``text`` that ``ask`` returns. ``piece.text`` is also reasoning or a call. The demo
        model answers from no library: one piece has the ``note`` of ``ask``, as ``text``.

        Args:
            messages: As in ``ask``, like the others.

        Raises:
            ContextError: With the first piece: the messages leave no room for an answer.
            DeviceError: The device cannot compute.
            HarmonyError: An item is not a message.
            ValueError: As in ``ask``.
        """
        conversation = self.conversation(
            messages,
            effort=effort,
            instructions=instructions,
            tools=tools,
            library=library,
            prefetch=prefetch,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
        )
        return _pieces(conversation)


def _pieces(conversation: GroundedConversation) -> Generator[AnswerPiece]:
    with conversation, closing(pieces(conversation.stream())) as answered:
        yield from answered
        if conversation.note is not None:
            yield AnswerPiece("final", conversation.note)


def load(
    name_or_path: str | os.PathLike[str] | Checkpoint | None = None,
    *,
    sampling: Sampling | None = None,
    wire: bool = True,
    resident: float | None = None,
    memory_budget: str | int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> LLM:
    """Load a model, ready to answer.

    Args:
        name_or_path: ``20b``, ``120b`` or its repository's id, ``demo``, a name that
            ``gptoss-mlx models`` lists, or a folder. A released model that is not
            converted, and ``USER/REPO``, is opened from the Hugging Face cache. Or a
            folder that ``open_checkpoint`` has opened. None: 20b or 120b if it is on this
            machine, else demo.
        sampling: How tokens are drawn. None: as in the model's generation_config.json.
        wire: Whether to wire the model's memory while it answers, so that macOS does not
            move it: on macOS 15 and newer, for a model that takes over half of the memory
            that a program may use.
        resident: The share of each layer's experts to keep in memory, over 0 and up to 1;
            the others are read from the files when they are needed. None: all that fit.
        memory_budget: The most memory that the program may take, as ``"8GB"`` or in bytes,
            with a context of 8,192 tokens, or of fewer, down to 2,048, if it must be. As
            many experts stay in memory as fit.
        say: Called with a line about anything that takes over a second, about how a large
            model runs, and when the machine becomes short of memory.

    Raises:
        ModelNotFoundError: The name is unknown.
        NotEnoughMemoryError: The model does not fit this machine.
        GptOssError: The model cannot be loaded.
        ValueError: ``resident`` is out of its range, or given beside ``memory_budget``; or
            that is no amount of memory.
    """
    if isinstance(name_or_path, Checkpoint):
        checkpoint = name_or_path
    else:
        checkpoint = open_model(name_or_path, say)
    if sampling is None:
        sampling = read_sampling_defaults(checkpoint.folder)
    source = load_source(
        checkpoint, wire=wire, resident=resident, memory_budget=memory_budget, say=say
    )
    return LLM(checkpoint.folder, source, load_tokenizer(), sampling)


def load_model(
    name_or_path: str | os.PathLike[str] | Checkpoint | None = None,
    *,
    dtype: mx.Dtype | None = None,
    resident: float | None = None,
    memory_budget: str | int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Model:
    """Load the transformer alone, which computes logits from tokens.

    Args:
        name_or_path: As of ``load``, or a folder that ``open_checkpoint`` has opened.
        dtype: What to compute in, ``mx.bfloat16`` or ``mx.float32``. None: what suits
            the device. On an M5, MLX multiplies float32 as TF32, with 10 bits of fraction,
            unless ``MLX_ENABLE_TF32=0`` is set before its first product.
        resident: As of ``load``, like the others.

    Returns:
        The model, its weights in memory, but for experts that are read when needed.

    Raises:
        ModelNotFoundError: There is no such model.
        GptOssError: The model cannot be loaded.
    """
    if not isinstance(name_or_path, Checkpoint):
        name_or_path = open_model(name_or_path, say)
    return loading.load_model(
        name_or_path, dtype=dtype, resident=resident, memory_budget=memory_budget
    )
