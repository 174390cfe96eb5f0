"""The files that go into the next question of the chat."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable

from gptoss_mlx.conversation.attachments import (
    Attachment,
    attached_to,
    check_room,
    read_attachment,
)
from gptoss_mlx.conversation.conversation import Conversation
from gptoss_mlx.errors import GptOssError
from gptoss_mlx.files import expanded
from gptoss_mlx.harmony.render import render_conversation
from gptoss_mlx.tokenizer import load_tokenizer

__all__ = ["Attached", "typed_paths"]


class Attached:
    """Files for the next question.

    Attributes:
        files: In the order in which they were attached.
    """

    def __init__(self) -> None:
        self.files: list[Attachment] = []

    def run(
        self, argument: str, conversation: Conversation, say: Callable[[str], None]
    ) -> bool:
        """Attach the files that are named, or list those that are attached.

        Args:
            argument: What was typed after ``/attach``.
            conversation: The conversation, whose next question carries them.
            say: Called with lines of text for the user.

        Returns:
            Whether that was possible. If not, nothing is attached.
        """
        if not argument:
            self._list(say)
            return True
        try:
            files = [read_attachment(path) for path in typed_paths(argument)]
            self._check_room(files, conversation)
        except GptOssError as error:
            say(str(error))
            say(error.hint)
            return False
        self.files += files
        for file in files:
            say(f"{file.name}: {file.size}, for the next question")
        return True

    def take(self, question: str) -> str:
        """Return the question with the files before it, and attach none any more."""
        files, self.files = self.files, []
        return attached_to(question, files) if files else question

    def clear(self, say: Callable[[str], None]) -> None:
        """Attach no file any more, and say so if there was one."""
        if self.files:
            names = ", ".join(file.name for file in self.files)
            say(f"No longer attached: {names}")
        self.files = []

    def _list(self, say: Callable[[str], None]) -> None:
        if not self.files:
            say("Nothing is attached. /attach FILE adds a file to the next question.")
        for file in self.files:
            say(f"{file.name}: {file.size}")

    def _check_room(self, files: list[Attachment], conversation: Conversation) -> None:
        together = [*self.files, *files]
        context = conversation.source.context_tokens
        said = len(render_conversation(conversation.messages, load_tokenizer()))
        search = f"Let the model search it instead: /in {files[0].path}"
        clear = "/clear starts a new conversation."
        for others, hint in ((0, search), (said, clear)):
            check_room(together, others=others, context_tokens=context, hint=hint)


def typed_paths(argument: str) -> list[str]:
    """Return the paths in what was typed, or dragged into the terminal.

    A path that exists may have spaces and quotes as they are. Otherwise they are read as a
    shell does: macOS puts a backslash before them, other terminals put the path in quotes.
    """
    text = argument.strip()
    if _exists(text):
        return [text]
    try:
        words = shlex.split(text)
    except ValueError:  # a quote without an end
        return [text]
    if len(words) == 1 or (words and all(map(_exists, words))):
        return words
    return [text]


def _exists(path: str) -> bool:
    return os.path.lexists(expanded(path))
