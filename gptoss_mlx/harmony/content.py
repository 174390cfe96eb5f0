"""The text of system and developer messages, section by section.

Source: https://github.com/openai/harmony/blob/main/docs/format.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from gptoss_mlx.harmony.messages import (
    FUNCTIONS,
    Content,
    DeveloperContent,
    Message,
    SystemContent,
    ToolNamespace,
)
from gptoss_mlx.harmony.names import check_name, check_tool_name
from gptoss_mlx.harmony.schema import typescript_type

__all__ = ["content_text", "has_functions"]


def content_text(content: Content, *, functions: bool = False) -> str:
    """Render content as text.

    Args:
        content: Content of a message.
        functions: As in ``render_message``.

    Raises:
        HarmonyError: A tool has the name of a role, or a name that a header cannot hold.
    """
    if isinstance(content, SystemContent):
        return _system_text(content, functions)
    if isinstance(content, DeveloperContent):
        return _developer_text(content)
    return content


def has_functions(messages: Iterable[Message]) -> bool:
    """Whether a developer message has function tools."""
    return any(
        namespace.name == FUNCTIONS and namespace.tools
        for message in messages
        for part in message.parts
        if isinstance(part, DeveloperContent)
        for namespace in part.tools
    )


def _system_text(content: SystemContent, functions: bool) -> str:
    about = []
    if content.identity is not None:
        about.append(content.identity)
    if content.knowledge_cutoff is not None:
        about.append(f"Knowledge cutoff: {content.knowledge_cutoff}")
    if content.current_date is not None:
        about.append(f"Current date: {content.current_date}")
    sections = ["\n".join(about)] if about else []
    if content.effort is not None:
        sections.append(f"Reasoning: {content.effort}")
    sections += _tools_sections(content.tools)
    if content.channels:
        channels = f"# Valid channels: {', '.join(content.channels)}."
        if content.channel_required:
            channels += " Channel must be included for every message."
        if functions:
            channels += (
                "\nCalls to these tools must go to the commentary channel: 'functions'."
            )
        sections.append(channels)
    return "\n\n".join(sections)


def _developer_text(content: DeveloperContent) -> str:
    sections = []
    if content.instructions is not None:
        sections += ["# Instructions", content.instructions]
    sections += _tools_sections(content.tools)
    if content.response_formats:
        sections.append("# Response Formats")
    for wanted in content.response_formats:
        lines = [f"// {line}" for line in _lines(wanted.description or "")]
        lines.append(json.dumps(wanted.schema, ensure_ascii=False, separators=(",", ":")))
        sections += [f"## {wanted.name}", "\n".join(lines)]
    return "\n\n".join(sections)


def _tools_sections(namespaces: Sequence[ToolNamespace]) -> list[str]:
    """Render tools, in the order of their namespaces' names."""
    sections = ["# Tools"] if namespaces else []
    for namespace in sorted(namespaces, key=lambda namespace: namespace.name):
        check_tool_name(namespace.name, "A namespace")
        lines = [f"## {namespace.name}", ""]
        told = _lines(namespace.description or "")
        lines += [f"// {line}" for line in told] if namespace.tools else told
        if namespace.tools:
            lines += [f"namespace {namespace.name} {{", ""]
            for tool in namespace.tools:
                check_name(tool.name, "A function's name")
                lines += [f"// {line}" for line in _lines(tool.description)]
                arguments = (
                    ""
                    if tool.parameters is None
                    else f"_: {typescript_type(tool.parameters)}"
                )
                lines += [f"type {tool.name} = ({arguments}) => any;", ""]
            lines.append(f"}} // namespace {namespace.name}")
        sections.append("\n".join(lines))
    return sections


def _lines(text: str) -> list[str]:
    r"""Split as Rust does: only at ``\n`` or ``\r\n``, without an empty last line."""
    if not text:
        return []
    lines = text.removesuffix("\n").split("\n")
    ended = len(lines) if text.endswith("\n") else len(lines) - 1
    return [line.removesuffix("\r") if i < ended else line for i, line in enumerate(lines)]
