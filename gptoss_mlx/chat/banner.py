"""The lines at the start of a conversation in a terminal."""

from __future__ import annotations

import mlx.core as mx

from gptoss_mlx.demo.folder import DEMO
from gptoss_mlx.demo.questions import TOUR
from gptoss_mlx.device import Machine
from gptoss_mlx.harmony.messages import Effort
from gptoss_mlx.llm import LLM

__all__ = ["banner_lines"]

QUESTIONS: tuple[str, ...] = (
    "How does a lighthouse work?",
    "Write a haiku about the sea.",
    "What should I know before I learn Rust?",
)


def banner_lines(llm: LLM, effort: Effort, machine: Machine) -> list[str]:
    """Describe the model, its memory and effort, and suggest questions.

    Args:
        llm: The loaded model.
        effort: The reasoning effort.
        machine: The machine it runs on.
    """
    name = llm.folder.name
    questions = QUESTIONS
    if name == DEMO:
        name = "The demo model, a miniature"
        questions = tuple(turn.question for turn in TOUR[:3])
    used, kept = mx.get_active_memory() / 1e9, mx.get_cache_memory() / 1e9
    limit = machine.limit_bytes / 1e9
    memory = f"memory {used:.1f} of {limit:.1f} GB, {kept:.1f} cached"
    return [
        f"{name} · {memory} · effort {effort}",
        f"You might ask: {' · '.join(questions)}",
    ]
