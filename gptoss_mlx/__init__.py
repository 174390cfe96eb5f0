"""Run OpenAI's gpt-oss models on Apple silicon with MLX.

``load(name)`` gives a model that answers, ``load_model(path)`` one that turns tokens into
logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptoss_mlx.llm import load
    from gptoss_mlx.model.loading import load_model

__all__ = ["__version__", "load", "load_model"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import MLX only for those who use it: ``gptoss-mlx --help`` does not."""
    if name == "load":
        from gptoss_mlx.llm import load

        return load
    if name == "load_model":
        from gptoss_mlx.model.loading import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
