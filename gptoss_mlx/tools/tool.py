"""The base class of tools: a name, an instruction for the model, and a process.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/tool.py
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from gptoss_mlx.harmony.messages import FUNCTIONS, Message, ToolNamespace

__all__ = ["Tool", "tool_for"]


class Tool(ABC):
    """A tool that a model may call: one namespace, such as ``browser``."""

    @property
    @abstractmethod
    def instruction(self) -> ToolNamespace:
        """The tool's description for the model."""

    @property
    def name(self) -> str:
        """The first word of the tool's recipients."""
        return self.instruction.name

    @abstractmethod
    def process(self, call: Message) -> str:
        """Answer a call.

        Args:
            call: Its recipient begins with ``name``; its content is the model's text.

        Returns:
            The text for the model.

        Raises:
            ToolError: The call cannot be answered. The model is shown the
                message, and may try again.
        """

    def reset(self) -> None:  # noqa: B027 - most tools keep no state
        """Drop all state: a new conversation begins."""

    def close(self) -> None:  # noqa: B027 - most tools hold no resources
        """Free resources, such as a process. After ``reset`` the tool can be used again."""


def tool_for(recipient: str, tools: Iterable[Tool]) -> tuple[Tool, str] | None:
    """Find the tool of a call, and the recipient under the tool's own name.

    Models also write ``functions.python`` and ``functions.browser.search``: these are the
    built-in tools, unless ``functions`` has one of that name.
    """
    by_name = {tool.name: tool for tool in tools}
    first, _, rest = recipient.partition(".")
    if first == FUNCTIONS:
        functions = by_name.get(FUNCTIONS)
        own = {tool.name for tool in functions.instruction.tools} if functions else set()
        inner = rest.partition(".")[0]
        if rest not in own and inner in by_name:
            return by_name[inner], rest
    return (by_name[first], recipient) if first in by_name else None
