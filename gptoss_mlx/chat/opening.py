"""From a model's folder to something that continues a prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gptoss_mlx.chat.session import TokenSource
from gptoss_mlx.generation.engine import generate
from gptoss_mlx.generation.sampling import default_sampler
from gptoss_mlx.harmony.parse import STOP_TOKENS
from gptoss_mlx.model.loading import load_model

__all__ = ["open_tokens"]


def open_tokens(folder: Path, *, seed: int | None = None) -> TokenSource:
    """Load a model and sample from it as its generation_config.json says.

    Args:
        folder: In any layout that ``load_model`` reads.
        seed: The same seed draws the same tokens. None: a new one.

    Returns:
        A function from a prompt to what follows, up to a token of ``STOP_TOKENS``.

    Raises:
        GptOssError: As ``load_model`` and ``default_sampler``.
    """
    model = load_model(folder)
    sampler = default_sampler(folder, seed=seed)

    def tokens(prompt: list[int]) -> Iterator[int]:
        room = model.config.max_position_embeddings - len(prompt)
        return generate(
            model,
            prompt,
            sampler=sampler,
            stop_tokens=STOP_TOKENS,
            max_tokens=max(room, 1),
        )

    return tokens
