from __future__ import annotations

from gptoss_mlx.chat.notices import ContextNotice
from gptoss_mlx.conversation.usage import Usage


def said(notice: ContextNotice, used: int) -> str | None:
    """What is said after a turn that leaves the context so full."""
    return notice.after(Usage(context_tokens=used), context_tokens=131_072)


def test_a_context_that_fills_up_is_said_at_each_twentieth() -> None:
    """From 80 % on, once for each twentieth."""
    notice = ContextNotice()
    turns = [1_000, 104_857, 104_858, 110_000, 111_412, 105_000, 112_000, 125_000]
    told = [used for used in turns if said(notice, used) is not None]

    assert told == [104_858, 111_412, 125_000]
    assert said(ContextNotice(), 110_000) == (
        "Context: 110,000 of 131,072 tokens used; /clear starts a new conversation."
    )


def test_a_new_conversation_is_told_anew() -> None:
    """After /clear little of the context is used, so the notices begin again."""
    notice = ContextNotice()
    said(notice, 110_000)
    said(notice, 1_000)

    assert said(notice, 110_000) is not None


def test_a_full_context_is_said_once() -> None:
    """The end of the turn says it already."""
    assert said(ContextNotice(), 131_072) is None
