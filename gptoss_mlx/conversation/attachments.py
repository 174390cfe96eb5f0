"""Files whose text goes into a question."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gptoss_mlx.controls import escaped
from gptoss_mlx.errors import ContextError, UnreadableDocumentError
from gptoss_mlx.files import check_exists, expanded
from gptoss_mlx.library.reading import read_document
from gptoss_mlx.tokenizer import load_tokenizer

__all__ = ["Attachment", "attached_to", "check_room", "count_tokens", "read_attachment"]

# Any model's context is full long before, whatever a PDF holds besides its text.
MAX_BYTES = 256 << 20

# What an answer gets at least, of a context that is long enough.
ANSWER_TOKENS = 2_048

# A longer text is counted by a part: it fits no context, and would take long.
_COUNTED_CHARACTERS = 4_000_000

_FENCES = re.compile("`{3,}")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file's text, ready for a question.

    Attributes:
        path: The file, as it was named.
        text: Its text.
        tokens: How many tokens it adds to the question.
        is_exact: Whether all tokens were counted. If not, a part was, and they are far too
            many.
    """

    path: Path
    text: str
    tokens: int
    is_exact: bool = True

    @property
    def name(self) -> str:
        """The file's name, in one line."""
        return escaped(self.path.name)

    @property
    def size(self) -> str:
        """Its tokens in words: ``1,234 tokens``."""
        about = "" if self.is_exact else "about "
        return f"{about}{self.tokens:,} token{'' if self.tokens == 1 else 's'}"


def read_attachment(
    path: str | os.PathLike[str], *, name: Path | None = None
) -> Attachment:
    """Read a file of any kind that a library reads.

    Args:
        path: The file. A ``~`` at its beginning is the home folder.
        name: What to call it, if that is not the path.

    Raises:
        UnreadableDocumentError: It is a folder, has no text, or cannot be read.
        StorageError: It is not there, or access is denied.
    """
    file = expanded(os.fspath(path))
    path = Path(path)
    shown = path if name is None else name
    check_exists(str(path), "file")
    if file.is_dir():
        command = "gptoss-mlx ask --in FOLDER QUESTION"
        raise UnreadableDocumentError(
            shown, "is a folder.", hint=f"To ask about all files in it: {command}"
        )
    try:
        text = "\n".join(read_document(file, max_bytes=MAX_BYTES).lines)
    except UnreadableDocumentError as error:
        raise UnreadableDocumentError(shown, error.reason, hint=error.hint) from error
    if not text.strip():
        raise UnreadableDocumentError(shown, "has no text.", hint="Name a file with text.")
    return Attachment(shown, text, *count_tokens(_quoted(escaped(shown.name), text)))


def attached_to(question: str, attachments: Sequence[Attachment]) -> str:
    """Return the question with the files before it, each below its name and in a fence.

    The fence is longer than any in the text, so no line of the text ends it.
    """
    often = Counter(attachment.name for attachment in attachments)
    blocks = []
    for each in attachments:
        name = escaped(str(each.path)) if often[each.name] > 1 else each.name
        blocks.append(_quoted(name, each.text))
    return "\n\n".join([*blocks, question])


def check_room(
    attachments: Sequence[Attachment],
    *,
    others: int,
    context_tokens: int,
    hint: str | None = None,
) -> None:
    """Check that files leave room for an answer.

    Args:
        attachments: The files.
        others: Tokens of the question, and of the conversation so far.
        context_tokens: The most tokens of question and answer together.
        hint: How to ask about longer files.

    Raises:
        ContextError: They do not.
    """
    room = context_tokens - min(ANSWER_TOKENS, context_tokens // 4)
    tokens = others + sum(attachment.tokens for attachment in attachments)
    if tokens <= room:
        return
    longest = max(attachments, key=lambda attachment: attachment.tokens)
    if longest.tokens > room:
        found = f"{longest.name} has {longest.size}"
    else:
        sizes = ", ".join(f"{each.name} {each.tokens:,}" for each in attachments)
        found = f"The question would have {tokens:,} tokens ({sizes})"
    raise ContextError(f"{found}, but there is room for {room:,}.", hint=hint)


def count_tokens(text: str) -> tuple[int, bool]:
    """Count tokens, or estimate them if there are very many.

    Returns:
        The tokens, and whether they were counted.
    """
    tokens = len(load_tokenizer().encode(text[:_COUNTED_CHARACTERS]))
    if len(text) <= _COUNTED_CHARACTERS:
        return tokens, True
    # As round as an estimate is.
    estimate = float(f"{tokens * len(text) / _COUNTED_CHARACTERS:.2g}")
    return int(estimate), False


def _quoted(name: str, text: str) -> str:
    longest = max((len(fence) for fence in _FENCES.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"File: {name}\n{fence}\n{text}\n{fence}"
