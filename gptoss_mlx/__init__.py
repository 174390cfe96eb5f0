"""Run OpenAI's gpt-oss models on Apple silicon with MLX.

``load(name)`` returns a model that answers, ``load_model(name)`` the transformer: tokens to
logits.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gptoss_mlx.conversation.answer import Answer
    from gptoss_mlx.errors import GptOssError
    from gptoss_mlx.generation.sampling import Sampling
    from gptoss_mlx.grounding.answer import GroundedAnswer
    from gptoss_mlx.grounding.citations import Citation
    from gptoss_mlx.harmony.messages import Message, ToolDescription
    from gptoss_mlx.library.library import Library
    from gptoss_mlx.llm import load, load_model
    from gptoss_mlx.tools.functions import Function, Functions
    from gptoss_mlx.tools.tool import Tool

__all__ = [
    "Answer",
    "Citation",
    "Function",
    "Functions",
    "GptOssError",
    "GroundedAnswer",
    "Library",
    "Message",
    "Sampling",
    "Tool",
    "ToolDescription",
    "__version__",
    "load",
    "load_model",
]

__version__ = "0.1.0"

# Imported on first use, so that `gptoss-mlx --help` does not wait for MLX.
_MODULES = {
    "Answer": "gptoss_mlx.conversation.answer",
    "Citation": "gptoss_mlx.grounding.citations",
    "Function": "gptoss_mlx.tools.functions",
    "Functions": "gptoss_mlx.tools.functions",
    "GptOssError": "gptoss_mlx.errors",
    "GroundedAnswer": "gptoss_mlx.grounding.answer",
    "Library": "gptoss_mlx.library.library",
    "Message": "gptoss_mlx.harmony.messages",
    "Sampling": "gptoss_mlx.generation.sampling",
    "Tool": "gptoss_mlx.tools.tool",
    "ToolDescription": "gptoss_mlx.harmony.messages",
    "load": "gptoss_mlx.llm",
    "load_model": "gptoss_mlx.llm",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
