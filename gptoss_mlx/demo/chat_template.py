"""The chat template of the demo model's folder, from which mlx-lm makes prompts."""

from __future__ import annotations

from gptoss_mlx.convert.chat_template import chat_template

__all__ = ["CHAT_TEMPLATE"]

# Texts alone: the demo model calls no tools.
CHAT_TEMPLATE = chat_template("The demo model")
