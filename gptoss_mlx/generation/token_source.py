"""What continues a prompt: a model that remembers what it has read."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol

from gptoss_mlx.checkpoint.folder import Checkpoint
from gptoss_mlx.errors import UnsupportedModelError
from gptoss_mlx.generation.engine import GeneratedToken, Progress, generate
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.sampling import (
    Sampling,
    make_logits_processors,
    make_sampler,
    read_sampling_defaults,
)
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.model.transformer import Model
from gptoss_mlx.tokenizer import VOCAB_SIZE

__all__ = ["ModelSource", "TokenSource", "open_source"]


class TokenSource(Protocol):
    """Continues a prompt. Behind it is a model, or in tests a script.

    Attributes:
        context_tokens: The most that prompt and answer together can have.
        cached_tokens: Those of the last prompt that were not read again.
    """

    @property
    def context_tokens(self) -> int: ...  # noqa: D102

    @property
    def cached_tokens(self) -> int: ...  # noqa: D102

    def __call__(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[GeneratedToken]:
        """Continue ``prompt`` up to a token that ends the turn.

        Args:
            prompt: Token ids.
            max_tokens: The most to yield. None: as many as the context holds.
            progress: Hears how far the reading of the prompt is.

        Raises:
            ContextError: The prompt leaves no room for a token.
        """


class ModelSource:
    """A model, one conversation's cache, and how tokens are drawn.

    It answers one prompt at a time; the next prompt costs what is new in it.

    Attributes:
        model: What reads and writes.
        cache: What it has read.
    """

    def __init__(self, model: Model, sampling: Sampling | None = None) -> None:
        """Begin with an empty cache.

        Raises:
            ValueError: A number of ``sampling`` is out of its range.
        """
        self.model = model
        self.cache = PromptCache(model)
        self.sampling = sampling or Sampling()

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn. A seed begins anew when this is set."""
        return self._sampling

    @sampling.setter
    def sampling(self, sampling: Sampling) -> None:
        sampler = make_sampler(
            sampling.temperature,
            sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            seed=sampling.seed,
        )
        # A number that is refused leaves everything as it was.
        self._processors = make_logits_processors(
            repetition_penalty=sampling.repetition_penalty
        )
        self._sampler, self._sampling = sampler, sampling

    @property
    def context_tokens(self) -> int:
        """The most tokens that prompt and answer together can have."""
        return self.model.config.max_position_embeddings

    @property
    def cached_tokens(self) -> int:
        """Tokens of the last prompt that were not read again."""
        return self.cache.reused

    def __call__(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int | None = None,
        progress: Progress | None = None,
    ) -> Generator[GeneratedToken]:
        """Continue ``prompt``; see ``TokenSource``."""
        return generate(
            self.model,
            prompt,
            sampler=self._sampler,
            processors=self._processors,
            max_tokens=max_tokens,
            context_tokens=self.context_tokens,
            cache=self.cache,
            progress=progress,
        )


def open_source(checkpoint: Checkpoint) -> ModelSource:
    """Load a model, to sample from it as its generation_config.json says.

    Args:
        checkpoint: In any layout.

    Raises:
        UnsupportedModelError: The model does not have gpt-oss's vocabulary.
        GptOssError: As ``load_model`` and ``read_sampling_defaults``.
    """
    vocab_size = checkpoint.config.vocab_size
    if vocab_size != VOCAB_SIZE:  # Tests and experiments have such.
        raise UnsupportedModelError(
            f"{checkpoint.folder / 'config.json'}: vocab_size must be {VOCAB_SIZE:,} "
            f"to chat but is {vocab_size:,}."
        )
    sampling = read_sampling_defaults(checkpoint.folder)
    return ModelSource(load_model(checkpoint), sampling)
