"""Conversations in openai-harmony's own JSON form: reading and writing.

Source: https://github.com/openai/harmony/blob/main/python/openai_harmony/__init__.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.messages import (
    EFFORTS,
    ROLES,
    Content,
    DeveloperContent,
    Message,
    ResponseFormat,
    SystemContent,
    ToolDescription,
    ToolNamespace,
)
from gptoss_mlx.harmony.names import check_name, check_tool_name

__all__ = [
    "conversation_from_json",
    "conversation_to_json",
    "message_from_json",
    "message_to_json",
]

_Choice = TypeVar("_Choice", bound=str)

MAX_DEPTH = 128
"""Values nested deeper are refused, as in the reference."""


def conversation_from_json(data: object) -> list[Message]:
    """Read the decoded JSON of ``openai_harmony.Conversation.to_json``.

    A missing field has the default of ``Conversation.from_json``. A developer's content may
    also have ``response_formats``, which openai-harmony ignores.

    Raises:
        HarmonyError: The JSON has another form. The message names the place.
    """
    _check_depth(data)
    if not isinstance(data, Mapping) or not isinstance(data.get("messages"), list):
        raise HarmonyError(
            'A conversation must be an object with a list "messages"'
            f" but is {_short(data)}.",
        )
    return [
        _message(_Place(item, f"messages[{i}]")) for i, item in enumerate(data["messages"])
    ]


def message_from_json(data: object, where: str) -> Message:
    """Read one message, as ``conversation_from_json`` does.

    Args:
        data: The decoded JSON.
        where: The place for the error's message, e.g. ``messages[0]``.

    Raises:
        HarmonyError: The JSON has another form. The message names the place.
    """
    _check_depth(data)
    return _message(_Place(data, where))


def conversation_to_json(messages: Iterable[Message]) -> dict[str, Any]:
    """Write the form that ``openai_harmony.Conversation.from_json`` reads."""
    return {"messages": [message_to_json(message) for message in messages]}


def message_to_json(message: Message) -> dict[str, Any]:
    """Write one message, as ``openai_harmony.Message.to_dict`` does."""
    data: dict[str, Any] = {
        "role": message.role,
        "name": message.name,
        "content": [_content_to_json(part) for part in message.parts],
    }
    for key in ("channel", "recipient", "content_type"):
        if (value := getattr(message, key)) is not None:
            data[key] = value
    return data


class _Place:
    """A value of the file and its place, for the error's message."""

    def __init__(self, value: object, where: str) -> None:
        self.value = value
        self.where = where

    def refuse(self, rule: str) -> NoReturn:
        raise HarmonyError(f"{self.where} must be {rule} but is {_short(self.value)}.")

    def __getitem__(self, key: str) -> _Place:
        value = self.object().get(key)
        return _Place(value, f"{self.where}.{key}")

    def __contains__(self, key: str) -> bool:
        return key in self.object()

    def object(self) -> Mapping[str, Any]:
        if not isinstance(self.value, Mapping):
            self.refuse("an object")
        return self.value

    def text(self) -> str:
        if not isinstance(self.value, str):
            self.refuse("a text")
        return self.value

    def text_or_none(self) -> str | None:
        return None if self.value is None else self.text()

    def checked(self, check: Callable[[str, str], None]) -> str:
        """Return a text after ``check`` has accepted it."""
        text = self.text()
        check(text, self.where)
        return text

    def checked_or_none(self, check: Callable[[str, str], None]) -> str | None:
        return None if self.value is None else self.checked(check)

    def items(self) -> list[_Place]:
        if not isinstance(self.value, list):
            self.refuse("a list")
        return [_Place(v, f"{self.where}[{i}]") for i, v in enumerate(self.value)]

    def choice(self, choices: tuple[_Choice, ...], *, lower: bool = False) -> _Choice:
        value = self.text()
        for choice in choices:
            if choice == (value.lower() if lower else value):
                return choice
        self.refuse(f"one of {', '.join(choices)}")


def _message(place: _Place) -> Message:
    role = place["role"].choice(ROLES)
    content = place["content"]
    parts: list[Content]
    if isinstance(content.value, str):
        parts = [content.value]
    else:
        if not isinstance(content.value, list):
            content.refuse("a text or a list")
        parts = [_content(item) for item in content.items()]
    return Message(
        role,
        parts[0] if len(parts) == 1 else tuple(parts),
        place["channel"].text_or_none(),
        place["recipient"].checked_or_none(check_name),
        place["content_type"].text_or_none(),
        place["name"].checked_or_none(check_name),
    )


def _content(place: _Place) -> Content:
    kind = place["type"].choice(("text", "system_content", "developer_content"))
    if kind == "text":
        return place["text"].text()
    tools = _namespaces(place["tools"])
    if kind == "developer_content":
        formats = place["response_formats"]
        return DeveloperContent(
            place["instructions"].text_or_none(),
            tools,
            () if formats.value is None else tuple(map(_format, formats.items())),
        )
    given: dict[str, Any] = {"tools": tools}
    for key, name in (
        ("model_identity", "identity"),
        ("conversation_start_date", "current_date"),
        ("knowledge_cutoff", "knowledge_cutoff"),
    ):
        if key in place:
            given[name] = place[key].text_or_none()
    if "reasoning_effort" in place:
        effort = place["reasoning_effort"]
        none = effort.value is None
        given["effort"] = None if none else effort.choice(EFFORTS, lower=True)
    if "channel_config" in place:
        given |= _channels(place["channel_config"])
    return SystemContent(**given)


def _channels(place: _Place) -> dict[str, Any]:
    if place.value is None:
        return {"channels": ()}
    required = place["channel_required"]
    if not isinstance(required.value, bool):
        required.refuse("true or false")
    names = tuple(name.text() for name in place["valid_channels"].items())
    return {"channels": names, "channel_required": required.value}


def _namespaces(place: _Place) -> tuple[ToolNamespace, ...]:
    if place.value is None:
        return ()
    namespaces = []
    for key in place.object():
        at = place[key]
        name = at["name"]
        if name.checked(check_tool_name) != key:
            name.refuse(f"{key!r}, the key it stands under,")
        tools = tuple(map(_tool, at["tools"].items()))
        namespaces.append(ToolNamespace(key, tools, at["description"].text_or_none()))
    return tuple(namespaces)


def _tool(place: _Place) -> ToolDescription:
    parameters = place["parameters"]
    return ToolDescription(
        place["name"].checked(check_name),
        place["description"].text(),
        None if parameters.value is None else parameters.object(),
    )


def _format(place: _Place) -> ResponseFormat:
    return ResponseFormat(
        place["name"].text(),
        place["schema"].object(),
        place["description"].text_or_none(),
    )


def _content_to_json(content: Content) -> dict[str, Any]:
    if isinstance(content, str):
        return {"type": "text", "text": content}
    data: dict[str, Any] = {}
    if isinstance(content, SystemContent):
        # Nulls are written: otherwise a reader would use the defaults.
        effort = content.effort
        data = {
            "model_identity": content.identity,
            "reasoning_effort": None if effort is None else effort.capitalize(),
            "conversation_start_date": content.current_date,
            "knowledge_cutoff": content.knowledge_cutoff,
            "channel_config": {
                "valid_channels": list(content.channels),
                "channel_required": content.channel_required,
            },
        }
    elif content.instructions is not None:
        data["instructions"] = content.instructions
    if content.tools:
        data["tools"] = {
            namespace.name: {
                "name": namespace.name,
                "description": namespace.description,
                "tools": [
                    {
                        "name": tool.name,
                        "description": tool.description,
                        "parameters": tool.parameters,
                    }
                    for tool in namespace.tools
                ],
            }
            for namespace in content.tools
        }
    if isinstance(content, SystemContent):
        return {**data, "type": "system_content"}
    if content.response_formats:
        data["response_formats"] = [
            {"name": f.name, "description": f.description, "schema": f.schema}
            for f in content.response_formats
        ]
    return {**data, "type": "developer_content"}


def _check_depth(data: object) -> None:
    level = [data]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            if isinstance(value, (Mapping, list))
            for item in (value.values() if isinstance(value, Mapping) else value)
        ]
        if not level:
            return
    raise HarmonyError(f"A file's values must be nested at most {MAX_DEPTH} deep.")


def _short(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
