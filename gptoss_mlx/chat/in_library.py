"""``/in``: the files that the answers of a chat stand on, and what is shown of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from gptoss_mlx.chat.attach import typed_paths
from gptoss_mlx.controls import escaped
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import GptOssError
from gptoss_mlx.grounding.grounded_conversation import GroundedConversation
from gptoss_mlx.grounding.library_choice import choose_library
from gptoss_mlx.grounding.sources import source_lines
from gptoss_mlx.library.library import Library
from gptoss_mlx.library.update import Progress

__all__ = ["is_verified", "passages_alone", "run_in", "sources_after"]

LINE_S = 2.0
"""Seconds between lines on how far the reading is."""


def run_in(argument: str, conversation: Conversation, say: Callable[[str], None]) -> bool:
    """Run ``/in``: answer from a path or a library, or from none after ``off``.

    Args:
        argument: A path or a name, ``off``, or nothing to be told which it is.
        conversation: The conversation.
        say: Called with lines for the user.

    Returns:
        Whether it did something.
    """
    if not isinstance(conversation, GroundedConversation):
        say("This conversation cannot answer from files.")
        return False
    argument = argument.strip()
    if not argument:
        say(_where(conversation))
        return True
    before = conversation.library
    try:
        if argument == "off":
            conversation.library = None
        else:
            progress = _Progress(say)
            chosen = typed_paths(argument)
            conversation.library = choose_library(chosen, progress=progress, say=say)
    except GptOssError as error:
        say(str(error))
        say(error.hint)
        return False
    if isinstance(before, Library):
        before.close()
    say(_where(conversation))
    return True


def _where(conversation: GroundedConversation) -> str:
    library = conversation.library
    if not isinstance(library, Library):
        return "Answers stand on no files. /in PATH names some."
    roots = ", ".join(escaped(str(root)) for root in library.roots)
    return f"Answers stand on {roots} ({len(library.names()):,} documents)."


class _Progress:
    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said = time.monotonic()

    def __call__(self, done: Progress) -> None:
        """Say how far the reading is, every few seconds."""
        now = time.monotonic()
        if now - self._said >= LINE_S:
            self._said = now
            self._say(f"Reading: {done.files:,} of {done.total_files:,} files")


def sources_after(conversation: Conversation) -> list[str]:
    """Return what the last answer stands on, line by line; nothing without a library."""
    if not isinstance(conversation, GroundedConversation) or conversation.library is None:
        return []
    return source_lines(conversation.citations, conversation.passages)


def is_verified(conversation: Conversation) -> bool:
    """Whether the last answer has a verified citation, or needs none: no files."""
    if not isinstance(conversation, GroundedConversation) or conversation.library is None:
        return True
    return any(citation.verified for citation in conversation.citations)


def passages_alone(conversation: Conversation, question: str) -> list[str] | None:
    """Return the passages for a question, after the reason why the model is not asked.

    None if it is asked.
    """
    if not isinstance(conversation, GroundedConversation) or conversation.note is None:
        return None
    for _ in conversation.stream(question):
        pass
    return [conversation.note, "", *sources_after(conversation)]
