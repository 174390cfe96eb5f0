"""A loaded model that answers requests, with its prompt cache."""

from __future__ import annotations

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
from gptoss_mlx.model import memory
from gptoss_mlx.model.footprint import cache_bytes
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.transformer import Model
from gptoss_mlx.tokenizer import VOCAB_SIZE

__all__ = ["ModelSource", "load_source"]

# Keys and values of at least this many tokens are wired.
WIRED_TOKENS = 8_192


class ModelSource:
    """A model and its prompt cache.

    Any thread may ask; requests wait their turn. Only new tokens of a prompt are computed.

    Attributes:
        model: The model that computes logits.
        cache: Its prompt cache. It belongs to the compute thread.
        wire: Whether to wire memory during an answer, if the model is large.
    """

    def __init__(self, model: Model, *, wire: bool = True) -> None:
        self.model = model
        self.cache = PromptCache(model)
        self.wire = wire
        self._lane = Lane()

    @property
    def context_tokens(self) -> int:
        """The most tokens of prompt and answer together."""
        return self.model.config.max_position_embeddings

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
        return generate(
            self.model,
            request,
            cache=self.cache,
            context_tokens=self.context_tokens,
            wired_bytes=self._wired_bytes(len(request.prompt)) if self.wire else 0,
        )

    def _wired_bytes(self, prompt_tokens: int) -> int:
        """Return how much memory to wire for an answer as long as its prompt."""
        machine = this_machine()
        if not memory.can_wire(machine):
            return 0
        config = self.model.config
        tokens = min(max(2 * prompt_tokens, WIRED_TOKENS), self.context_tokens)
        parameters = self.model.parameters()  # type: ignore[no-untyped-call]
        arrays = dict(tree_flatten(parameters)).values()
        return memory.wired_limit_bytes(
            machine,
            weights_bytes=sum(array.nbytes for array in arrays),
            other_bytes=cache_bytes(config, tokens, machine.value_bytes)
            + memory.working_bytes(config, machine),
        )


def load_source(checkpoint: Checkpoint, *, wire: bool = True) -> ModelSource:
    """Load a model to chat with, and limit the freed memory that MLX keeps.

    Args:
        checkpoint: A checkpoint in any layout of ``load_model``.
        wire: As in ``ModelSource``.

    Raises:
        UnsupportedModelError: The model does not have gpt-oss's vocabulary.
        GptOssError: As in ``load_model``.
    """
    vocab_size = checkpoint.config.vocab_size
    if vocab_size != VOCAB_SIZE:  # as in tests and experiments
        raise UnsupportedModelError(
            f"{checkpoint.folder / 'config.json'}: vocab_size must be {VOCAB_SIZE:,} to "
            f"chat but is {vocab_size:,}."
        )
    mx.set_cache_limit(memory.cache_limit_bytes(this_machine()))
    return ModelSource(load_model(checkpoint), wire=wire)
