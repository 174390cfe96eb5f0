"""Tools that a model may call, and the loop in which it does."""

from __future__ import annotations

from gptoss_mlx.harmony.messages import ToolDescription
from gptoss_mlx.tools.functions import Function, Functions
from gptoss_mlx.tools.tool import Tool

__all__ = ["Function", "Functions", "Tool", "ToolDescription"]
