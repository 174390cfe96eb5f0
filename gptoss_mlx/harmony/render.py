"""Renders messages to token ids.

Source: https://github.com/openai/harmony/blob/main/src/encoding.rs
"""

from __future__ import annotations

from collections.abc import Sequence

from gptoss_mlx.errors import HarmonyError
from gptoss_mlx.harmony.content import content_text, has_functions
from gptoss_mlx.harmony.messages import (
    Content,
    DeveloperContent,
    Message,
    Role,
    SystemContent,
)
from gptoss_mlx.harmony.names import check_name, check_tool_name
from gptoss_mlx.tokenizer import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    MESSAGE,
    RETURN,
    START,
    Tokenizer,
)

__all__ = [
    "drop_old_analysis",
    "render_conversation",
    "render_for_training",
    "render_message",
]


def render_conversation(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    drop: bool = True,
    next_role: Role | None = "assistant",
) -> list[int]:
    """Render the prompt for the next message.

    The prompt ends with ``<|start|>`` and ``next_role``; the model writes the channel
    itself.

    Args:
        messages: The conversation.
        tokenizer: The model's vocabulary.
        drop: Whether to leave out reasoning, as ``drop_old_analysis`` does.
        next_role: The next speaker. None: the prompt ends after the last message.

    Returns:
        Token ids. Special tokens come only from the structure, never from content.

    Raises:
        HarmonyError: A message cannot be rendered: see ``render_message``.
    """
    functions = has_functions(messages)
    tokens: list[int] = []
    for message in drop_old_analysis(messages) if drop else messages:
        tokens += render_message(message, tokenizer, functions=functions)
    if next_role is not None:
        tokens += [START, *tokenizer.encode(next_role)]
    return tokens


def render_for_training(
    messages: Sequence[Message], tokenizer: Tokenizer, *, drop: bool = True
) -> list[int]:
    """Render a conversation to train on its last turn.

    An assistant's ``final`` at the end closes with ``<|return|>``, as the model must write
    it. With ``drop``, the last turn keeps its reasoning, since it led to that answer.

    Raises:
        HarmonyError: As ``render_conversation``.
    """
    functions = has_functions(messages)
    shown = list(messages)
    if drop:
        shown = drop_old_analysis(shown[:-1]) + shown[-1:]
    tokens: list[int] = []
    for message in shown:
        tokens += render_message(message, tokenizer, functions=functions)
    if shown and shown[-1].role == "assistant" and shown[-1].channel == "final":
        tokens[-1] = RETURN
    return tokens


def render_message(
    message: Message, tokenizer: Tokenizer, *, functions: bool = False
) -> list[int]:
    """Render one message, from ``<|start|>`` to ``<|end|>`` or ``<|call|>``.

    Args:
        message: The message.
        tokenizer: The model's vocabulary.
        functions: Whether the conversation has function tools, whose channel the system
            message names.

    Raises:
        HarmonyError: A tool has no name, a header cannot hold a name or a recipient,
            or content is in a message of the wrong role.
    """
    encode = tokenizer.encode
    tokens = [START]
    if message.role == "tool":
        if message.name is None:
            raise HarmonyError(
                "A message of role 'tool' must have a name but has none.",
                hint="Use the tool's full name, for example functions.get_weather.",
            )
        check_tool_name(message.name)
        tokens += encode(message.name)
    else:
        tokens += encode(message.role)
        if message.name is not None:
            check_name(message.name, "A speaker's name")
            tokens += encode(f":{message.name}")
    if message.recipient is not None and message.recipient != "all":
        check_name(message.recipient, "A recipient")
        tokens += encode(f" to={message.recipient}")
    if message.channel is not None:
        tokens += [CHANNEL, *encode(message.channel)]
    if message.content_type is not None:
        constrained = message.content_type.startswith("<|constrain|>")
        rest = message.content_type.removeprefix("<|constrain|>")
        if constrained:
            tokens += [*encode(" "), CONSTRAIN, *encode(rest)]
        else:
            tokens += encode(f" {message.content_type}")
    tokens.append(MESSAGE)
    for part in message.parts:
        _check_role(part, message.role)
        tokens += encode(content_text(part, functions=functions))
    calls = message.role == "assistant" and message.recipient is not None
    return [*tokens, CALL if calls else END]


def drop_old_analysis(messages: Sequence[Message]) -> list[Message]:
    """Drop ``analysis`` before the last ``final``; keep that of a turn in progress.

    Source: https://cookbook.openai.com/articles/gpt-oss/handle-raw-cot
    """
    finals = [i for i, message in enumerate(messages) if message.channel == "final"]
    answered = finals[-1] if finals else 0
    return [
        message
        for i, message in enumerate(messages)
        if i >= answered or message.channel != "analysis"
    ]


def _check_role(content: Content, role: Role) -> None:
    for kind, allowed in ((SystemContent, "system"), (DeveloperContent, "developer")):
        if isinstance(content, kind) and role != allowed:
            raise HarmonyError(
                f"{kind.__name__} must be in a message of role {allowed!r} "
                f"but is in one of role {role!r}.",
                hint=f"Put that content in a message of its own, of role {allowed!r}.",
            )
