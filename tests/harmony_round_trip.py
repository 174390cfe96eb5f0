"""What is rendered is read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gptoss_mlx.harmony.content import content_text, has_functions
from gptoss_mlx.harmony.messages import Message
from gptoss_mlx.harmony.parse import parse
from gptoss_mlx.harmony.render import drop_old_analysis, render_conversation
from gptoss_mlx.tokenizer import load_tokenizer


def check_read_back(messages: Sequence[Message]) -> None:
    """Read every message of a rendered conversation, and the open header of the next."""
    functions = has_functions(messages)
    prompt = render_conversation(messages, load_tokenizer())
    *read, following = parse(prompt, load_tokenizer())

    assert [parsed.message for parsed in read] == [
        as_rendered(message, functions) for message in drop_old_analysis(messages)
    ]
    assert following.tokens == (200006, 173781)


def as_rendered(message: Message, functions: bool) -> Message:
    """The message that can be read back: its content as text, and no "all"."""
    return replace(
        message,
        content="".join(content_text(p, functions=functions) for p in message.parts),
        recipient=None if message.recipient == "all" else message.recipient,
    )
