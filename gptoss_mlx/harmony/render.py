"""Messages to token ids.

Source: https://github.com/openai/harmony/blob/main/src/encoding.rs
"""

from __future__ import annotations

from collections.abc import Sequence

from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.tokenizer import SPECIAL_TOKENS, Tokenizer

__all__ = ["drop_old_analysis", "render_conversation", "render_message"]


def render_conversation(messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Render the prompt for the assistant's next message.

    Reasoning that led to an answer already given is left out. The prompt ends with
    ``<|start|>assistant``; the model writes the channel itself.

    Returns:
        Token ids. Special tokens come from the structure alone, never from content.
    """
    tokens: list[int] = []
    for message in drop_old_analysis(messages):
        tokens += render_message(message, tokenizer)
    return [*tokens, SPECIAL_TOKENS["<|start|>"], *tokenizer.encode("assistant")]


def render_message(message: Message, tokenizer: Tokenizer) -> list[int]:
    """Render one message, from ``<|start|>`` to ``<|end|>``."""
    tokens = [SPECIAL_TOKENS["<|start|>"], *tokenizer.encode(message.role)]
    if message.channel is not None:
        tokens += [SPECIAL_TOKENS["<|channel|>"], *tokenizer.encode(message.channel)]
    tokens += [SPECIAL_TOKENS["<|message|>"], *tokenizer.encode(message.content)]
    return [*tokens, SPECIAL_TOKENS["<|end|>"]]


def drop_old_analysis(messages: Sequence[Message]) -> list[Message]:
    """Leave out ``analysis`` before the last ``final``; keep that of a turn in progress.

    Source: https://cookbook.openai.com/articles/gpt-oss/handle-raw-cot
    """
    finals = [i for i, message in enumerate(messages) if message.channel == "final"]
    answered = finals[-1] if finals else 0
    return [
        message
        for i, message in enumerate(messages)
        if i >= answered or message.channel != "analysis"
    ]
