"""A loaded model as a source of tokens: it remembers what it has read."""

from __future__ import annotations

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.errors import UnsupportedModelError
from gptoss_mlx.generation.compute_thread import Lane, ThreadedGeneration
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.request import Generation, Request
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.transformer import Model
from gptoss_mlx.tokenizer import VOCAB_SIZE

__all__ = ["ModelSource", "load_source"]


class ModelSource:
    """A model and what it has read last.

    Any thread may ask; requests wait their turn. The next prompt costs what is new in it.

    Attributes:
        model: Turns tokens into logits.
        cache: What it has read. It belongs to the compute thread.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.cache = PromptCache(model)
        self._lane = Lane()

    @property
    def context_tokens(self) -> int:
        """The most tokens that prompt and answer together can have."""
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
            self.model, request, cache=self.cache, context_tokens=self.context_tokens
        )


def load_source(checkpoint: Checkpoint) -> ModelSource:
    """Load a model to chat with.

    Args:
        checkpoint: In any layout that ``load_model`` reads.

    Raises:
        UnsupportedModelError: The model does not have gpt-oss's vocabulary.
        GptOssError: As ``load_model``.
    """
    vocab_size = checkpoint.config.vocab_size
    if vocab_size != VOCAB_SIZE:  # Tests and experiments have such.
        raise UnsupportedModelError(
            f"{checkpoint.folder / 'config.json'}: vocab_size must be {VOCAB_SIZE:,} to "
            f"chat but is {vocab_size:,}."
        )
    return ModelSource(load_model(checkpoint))
