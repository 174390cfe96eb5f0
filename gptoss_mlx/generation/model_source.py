"""A loaded model that answers requests, with its prompt cache."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
from mlx.utils import tree_flatten

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.device import this_machine
from gptoss_mlx.errors import UnsupportedModelError
from gptoss_mlx.generation.compute_thread import ThreadedGeneration
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.jobs import Lane
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.request import Generation, Request
from gptoss_mlx.memory_pressure import PressureWatch
from gptoss_mlx.model import memory
from gptoss_mlx.model.footprint import cache_bytes
from gptoss_mlx.model.loading import load_checkpoint, plan_checkpoint
from gptoss_mlx.model.plan import CONTEXT_TOKENS, Plan
from gptoss_mlx.model.transformer import Model
from gptoss_mlx.tokenizer import VOCAB_SIZE

__all__ = ["ModelSource", "load_source"]

# There is room for keys and values of at least this many tokens, wired if the model is.
USUAL_TOKENS = CONTEXT_TOKENS


class ModelSource:
    """A model and its prompt cache.

    Any thread may ask; requests wait their turn. Only new tokens of a prompt are computed.

    Attributes:
        model: The model that computes logits.
        cache: Its prompt cache. It belongs to the compute thread.
        wire: Whether to wire memory during an answer, if the model is large.
        plan: How it runs on this machine. None: as if it had memory for any context.
        pressure: Looks whether the machine is short of memory.
    """

    def __init__(
        self,
        model: Model,
        *,
        wire: bool = True,
        plan: Plan | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.model = model
        self.cache = PromptCache(model)
        self.wire = wire
        self.plan = plan
        self.pressure = PressureWatch()
        self._say = say
        self._has_said = False
        self._lane = Lane()

    @property
    def context_tokens(self) -> int:
        """The most tokens of prompt and answer together: all that fit in memory."""
        most = self.model.config.max_position_embeddings
        return most if self.plan is None else min(most, self.plan.longest_context_tokens)

    def __call__(self, request: Request) -> Generation:
        """Begin to answer a request; see ``TokenSource``."""
        last = self.model.config.vocab_size - 1
        for token in (min(request.prompt), max(request.prompt)):
            if not 0 <= token <= last:
                raise ValueError(
                    f"[ModelSource] prompt must be of ids from 0 to {last} but has {token}."
                )
        return ThreadedGeneration(self._lane, request, self._begin)

    def _begin(self, request: Request) -> Generation:
        if self.plan is not None:
            settings = self.plan.settings_at(self._expected_tokens(len(request.prompt)))
            self.pressure.look()
            limit = settings.cache_limit_bytes
            if self.pressure.was_short:
                limit = min(limit, memory.LEAST_CACHE_LIMIT_BYTES)
            mx.set_cache_limit(limit)
        return generate(
            self.model,
            request,
            cache=self.cache,
            context_tokens=self.context_tokens,
            chunk_tokens=None if self.plan is None else self.plan.chunk_tokens,
            between=self._relieve,
            wired_bytes=self._wired_bytes(len(request.prompt)) if self.wire else 0,
        )

    def _wired_bytes(self, prompt_tokens: int) -> int:
        """Return how much memory to wire for an answer."""
        machine = this_machine()
        if not memory.can_wire(machine):
            return 0
        config = self.model.config
        tokens = self._expected_tokens(prompt_tokens)
        parameters = self.model.parameters()  # type: ignore[no-untyped-call]
        arrays = dict(tree_flatten(parameters)).values()
        streaming = self.model.streaming
        slots_bytes = 0 if streaming is None else streaming.nbytes
        return memory.wired_limit_bytes(
            machine,
            weights_bytes=sum(array.nbytes for array in arrays) + slots_bytes,
            other_bytes=cache_bytes(config, tokens, machine.value_bytes)
            + memory.working_bytes(config, machine),
        )

    def _relieve(self) -> None:
        """Give memory back while the machine is short of it; say so the first time."""
        if not self.pressure.look():
            return
        before = mx.get_active_memory() + mx.get_cache_memory()
        self.cache.drop_snapshots()
        # Until a request that begins when there is enough.
        mx.set_cache_limit(memory.LEAST_CACHE_LIMIT_BYTES)
        mx.clear_cache()
        freed = before - mx.get_active_memory() - mx.get_cache_memory()
        if not self._has_said:
            self._has_said = True
            given = f": {freed / 1e6:,.0f} MB were given back" if freed >= 1e6 else ""
            self._say(
                f"This machine is short of memory{given}. Close other programs, or see "
                "gptoss-mlx fit."
            )

    def _expected_tokens(self, prompt_tokens: int) -> int:
        """Return the tokens to make room for: an answer as long as its prompt."""
        return min(max(2 * prompt_tokens, USUAL_TOKENS), self.context_tokens)


def load_source(
    checkpoint: Checkpoint,
    *,
    wire: bool = True,
    resident: float | None = None,
    memory_budget: str | int | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ModelSource:
    """Load a model to chat with, and limit the freed memory that MLX keeps.

    Args:
        checkpoint: A checkpoint in any layout of ``load_model``.
        wire: As in ``ModelSource``.
        resident: As in ``plan_checkpoint``, like the next one.
        say: Called with a line about how a large model runs, and from the thread that
            computes when the machine becomes short of memory.

    Raises:
        NotEnoughMemoryError: The model does not fit.
        UnsupportedModelError: The model does not have gpt-oss's vocabulary.
        GptOssError: As in ``load_model``.
        ValueError: As in ``load_model``.
    """
    vocab_size = checkpoint.config.vocab_size
    if vocab_size != VOCAB_SIZE:  # as in tests and experiments
        raise UnsupportedModelError(
            f"{checkpoint.folder / 'config.json'}: vocab_size must be {VOCAB_SIZE:,} to "
            f"chat but is {vocab_size:,}."
        )
    plan = plan_checkpoint(checkpoint, resident=resident, memory_budget=memory_budget)
    line = plan.line(checkpoint.folder.name)
    if line is not None:
        say(line)
    mx.set_cache_limit(plan.settings_at(CONTEXT_TOKENS).cache_limit_bytes)
    slots = plan.slots if plan.streams or resident is not None else None
    model = load_checkpoint(checkpoint, slots=slots)
    return ModelSource(model, wire=wire, plan=plan, say=say)
