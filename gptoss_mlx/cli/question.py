"""Reads the question of ``gptoss-mlx ask``: its words, files and stdin."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_mlx.cli.options import complete_model
from gptoss_mlx.cli.output import say

if TYPE_CHECKING:
    from gptoss_mlx.conversation.attachments import Attachment

__all__ = ["FilesOpt", "Question", "QuestionArg", "read_question", "read_words"]

STDIN = Path("stdin")
SAVE_IT = "Save it to a file, and search that: gptoss-mlx ask --in FILE QUESTION"
MAX_STDIN_BYTES = 256 << 20

QuestionArg = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL] QUESTION",
        help="The question. Quote characters that the shell expands, such as ? and *. "
        "Stdin, if any, is put before it: a text, or a document such as a PDF.",
        autocompletion=complete_model,
        show_default=False,
    ),
]

# Text, not Path: to that, an empty one is the current folder; and typer would refuse what
# is not readable, without the hint of our own.
FilesOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        help="A file to put before the question, e.g. a PDF. May be repeated.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its files.

    Attributes:
        words: What is asked; empty if stdin alone is the question.
        piped: A text on stdin, which goes before the words.
        attachments: Files and documents, which go before both.
    """

    words: str
    piped: str = ""
    attachments: Sequence[Attachment] = ()

    @property
    def prompt(self) -> str:
        """All of it as one text."""
        text = "\n\n".join(part for part in (self.piped, self.words) if part)
        if not self.attachments:
            return text
        from gptoss_mlx.conversation.attachments import attached_to

        return attached_to(text, self.attachments)

    def check_room(self, context_tokens: int) -> None:
        """Check that it leaves room for an answer, and say how long each file is.

        Raises:
            ContextError: It does not.
        """
        if not (self.attachments or self.piped):
            return
        from gptoss_mlx.conversation.attachments import (
            Attachment,
            check_room,
            count_tokens,
        )

        counted = [*self.attachments]
        if self.piped:
            counted.append(Attachment(STDIN, self.piped, *count_tokens(self.piped)))
        check_room(
            counted,
            others=count_tokens(self.words)[0],
            context_tokens=context_tokens,
            hint=self._search_hint(counted),
        )
        for attachment in self.attachments:
            say(f"{attachment.name}: {attachment.size}")

    def _search_hint(self, counted: Sequence[Attachment]) -> str:
        paths = [attachment.path for attachment in counted]
        if STDIN in paths:
            return SAVE_IT
        named = " ".join(f"--in {shlex.quote(str(path))}" for path in paths)
        asked = "QUESTION" if len(self.words) > 200 else shlex.quote(self.words)
        return f"Let the model search instead: gptoss-mlx ask {named} {asked}"


def read_words(words: list[str], model: str | None) -> tuple[str | None, str | None]:
    """Separate the model from the question: ``ask 20b "Why?"``, or ``ask why is that``.

    Returns:
        The model and the question; None for a missing one.
    """
    from gptoss_mlx.released_names import is_released_or_demo
    from gptoss_mlx.sharing.cached_models import find_cached
    from gptoss_mlx.store import is_model

    if (
        model is None
        and len(words) == 2
        and (is_model(words[0]) or find_cached(words[0]) is not None)
    ):
        return words[0], words[1]
    if model is None and len(words) == 1 and is_released_or_demo(words[0]):
        return words[0], None
    return model, " ".join(words) if words else None


def read_question(question: str | None, files: Sequence[str]) -> Question:
    """Read the files and stdin.

    Args:
        question: The words of the command line.
        files: Files to attach.

    Raises:
        AnswerError: There is no question.
        UnreadableDocumentError: A file or stdin has no text that can be read.
        StorageError: A file is not there.
    """
    import sys

    from gptoss_mlx.errors import AnswerError

    attachments = _read_files(files)
    piped = "" if sys.stdin.isatty() else _stdin()
    if not isinstance(piped, str):
        attachments.append(piped)
        piped = ""
    words = (question or "").strip()
    if not (words or piped):
        example = '"What is gpt-oss?"'
        if attachments:
            example = f'{"".join(f"--file {shlex.quote(f)} " for f in files)}"…"'
        raise AnswerError(
            "A question is missing.", hint=f"Ask one: gptoss-mlx ask {example}"
        )
    return Question(words, piped, attachments)


def _read_files(files: Sequence[str]) -> list[Attachment]:
    if not files:
        return []
    from rich.console import Console

    from gptoss_mlx.conversation.attachments import read_attachment

    with Console(stderr=True).status("Reading the files"):
        return [read_attachment(file) for file in files]


def _stdin() -> str | Attachment:
    """Read a text, which becomes part of the question, or a document."""
    import sys
    import tempfile

    from gptoss_mlx.errors import UnreadableDocumentError, storage_errors

    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise UnreadableDocumentError(
            STDIN,
            f"over {MAX_STDIN_BYTES >> 20} MB.",
            hint=SAVE_IT,
        )
    if b"\0" not in data and not data.startswith(b"%PDF-"):
        text = data.decode("utf-8-sig", errors="replace")
        return text.strip("\n") if text.strip() else ""
    from gptoss_mlx.conversation.attachments import read_attachment

    with tempfile.NamedTemporaryFile(prefix="gptoss-mlx-") as file:
        with storage_errors(file.name):
            file.write(data)
            file.flush()
        return read_attachment(file.name, name=STDIN)
