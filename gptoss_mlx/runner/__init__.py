"""A model that is ready to answer."""

from __future__ import annotations

from gptoss_mlx.runner.model_choice import model_folder
from gptoss_mlx.runner.runner import Answer, Runner, load

__all__ = ["Answer", "Runner", "load", "model_folder"]
