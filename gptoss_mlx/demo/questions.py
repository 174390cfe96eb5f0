"""Four questions that show what there is: three facts, and a limit."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TOUR", "TourQuestion"]


@dataclass(frozen=True, slots=True)
class TourQuestion:
    """A question of the tour.

    Attributes:
        expected: What a right answer has in it.
    """

    question: str
    expected: str


TOUR = (
    TourQuestion("What is gpt-oss?", "open-weight"),
    TourQuestion("What is MXFP4?", "4-bit number format"),
    TourQuestion("Which model should I choose?", "24 GB"),
    TourQuestion("Who painted the Mona Lisa?", "miniature"),
)
