"""From a model's folder to something that continues a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gptoss_mlx.chat.session import TokenSource
from gptoss_mlx.config import read_config
from gptoss_mlx.errors import UnsupportedModelError
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.prompt_cache import PromptCache
from gptoss_mlx.generation.sampling import (
    default_sampler,
    make_logits_processors,
    read_sampling_defaults,
)
from gptoss_mlx.harmony.parse import STOP_TOKENS
from gptoss_mlx.model.loading import load_model
from gptoss_mlx.tokenizer import VOCAB_SIZE

__all__ = ["open_tokens"]


def open_tokens(folder: Path, *, seed: int | None = None) -> TokenSource:
    """Load a model and sample from it as its generation_config.json says.

    Args:
        folder: In any layout that ``load_model`` reads.
        seed: The same seed draws the same tokens. None: a new one.

    Returns:
        A function from a prompt to what follows, up to a token of ``STOP_TOKENS``. It
        remembers what it has read: the next prompt costs what is new in it. It answers
        one prompt at a time.

    Raises:
        UnsupportedModelError: The model does not have gpt-oss's vocabulary.
        GptOssError: As ``load_model`` and ``default_sampler``. The function raises a
            ContextError if the prompt leaves no room for an answer.
    """
    check_vocabulary(folder)
    model = load_model(folder)
    sampler = default_sampler(folder, seed=seed)

    penalty = read_sampling_defaults(folder).repetition_penalty
    processors = make_logits_processors(repetition_penalty=penalty)
    cache = PromptCache(model)

    def tokens(prompt: list[int]) -> Iterator[int]:
        answer = generate(
            model,
            prompt,
            sampler=sampler,
            stop_tokens=STOP_TOKENS,
            context_tokens=model.config.max_position_embeddings,
            processors=processors,
            cache=cache,
        )
        return (step.token for step in answer)

    return tokens


def check_vocabulary(folder: Path) -> None:
    """Refuse a model that cannot speak harmony: tests and experiments have such.

    Raises:
        UnsupportedModelError: Its vocabulary is not gpt-oss's.
        GptOssError: As ``read_config``.
    """
    vocab_size = read_config(folder).vocab_size
    if vocab_size != VOCAB_SIZE:
        raise UnsupportedModelError(
            f"{folder / 'config.json'}: vocab_size must be {VOCAB_SIZE:,} to chat "
            f"but is {vocab_size:,}."
        )
