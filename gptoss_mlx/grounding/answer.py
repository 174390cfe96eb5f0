"""An answer from a library, with what it stands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_mlx.conversation.answer import Answer
from gptoss_mlx.grounding.citations import Citation
from gptoss_mlx.grounding.sources import source_lines
from gptoss_mlx.library.index import Hit

__all__ = ["UNVERIFIED", "GroundedAnswer"]

UNVERIFIED = 3
"""The exit status of an answer without a source that holds."""


@dataclass(frozen=True, slots=True)
class GroundedAnswer(Answer):
    """A model's answer from a library. Printed, it is the answer and its sources.

    Attributes:
        text: The answer. Citations are ``[1]``, or ``[2?]`` if they are not verified.
        citations: What it cites, by number.
        passages: What searches in the library found, the best first.
        note: Why the model was not asked; None if it was.
    """

    citations: Sequence[Citation] = ()
    passages: Sequence[Hit] = ()
    note: str | None = None

    @property
    def answer(self) -> str:
        """The answer: another name of ``text``."""
        return self.text

    @property
    def is_verified(self) -> bool:
        """Whether a citation in it is verified."""
        return any(citation.verified for citation in self.citations)

    def __str__(self) -> str:
        """Return the answer and its sources."""
        sources = source_lines(self.citations, self.passages)
        texts = [self.note, self.text, "\n".join(sources)]
        return "\n\n".join(text for text in texts if text)
