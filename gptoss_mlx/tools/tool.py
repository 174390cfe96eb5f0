"""What a tool is: a name, an instruction for the model, and a process.

Source: https://github.com/openai/gpt-oss/blob/main/gpt_oss/tools/tool.py
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from gptoss_mlx.harmony.messages import FUNCTIONS, Message, ToolNamespace

__all__ = ["Tool", "tool_for"]


class Tool(ABC):
    """Something that a model may call: one namespace, such as ``browser``."""

    @property
    @abstractmethod
    def instruction(self) -> ToolNamespace:
        """What the model is told of it."""

    @property
    def name(self) -> str:
        """The first word of the recipients that are its own."""
        return self.instruction.name

    @abstractmethod
    def process(self, call: Message) -> str:
        """Answer a call.

        Args:
            call: Its recipient begins with ``name``; its content is what the model wrote.

        Returns:
            What the model is shown.

        Raises:
            ToolError: The call cannot be answered as it was made. The model is shown the
                message, and may try again.
        """

    def reset(self) -> None:  # noqa: B027 - most tools remember nothing
        """Forget the conversation: another one begins."""

    def close(self) -> None:  # noqa: B027 - most tools hold nothing
        """Free what it holds, such as a process. After ``reset`` it can be used again."""


def tool_for(recipient: str, tools: Iterable[Tool]) -> tuple[Tool, str] | None:
    """Find the tool that a call is for, and the recipient that the tool knows.

    Models also write ``functions.python`` and ``functions.browser.search``: a built-in
    tool is found there too, unless ``functions`` has one of that name.
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
