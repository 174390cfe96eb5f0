"""Four questions that show what there is: three facts, and a limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from gptoss_mlx.runner.runner import Answer, Runner

__all__ = ["TOUR", "TourTurn", "show_tour", "take_tour"]


@dataclass(frozen=True, slots=True)
class TourTurn:
    """A question of the tour.

    Attributes:
        expected: What a right answer has in it.
    """

    question: str
    expected: str


TOUR = (
    TourTurn("What is gpt-oss?", "open-weight"),
    TourTurn("What is MXFP4?", "4-bit number format"),
    TourTurn("How big is gpt-oss-20b?", "20.9 billion"),
    TourTurn("Who painted the Mona Lisa?", "miniature"),
)


def take_tour(
    runner: Runner,
    heard: Callable[[TourTurn, Answer], None],
    *,
    asked: Callable[[TourTurn], object] = lambda turn: None,
) -> None:
    """Ask the questions, each in a conversation of its own.

    Args:
        runner: The demo model.
        heard: Gets each question and its answer.
        asked: Gets each question before.
    """
    for turn in TOUR:
        asked(turn)
        heard(turn, runner.ask(turn.question))


def show_tour(runner: Runner, output: TextIO, notes: TextIO) -> None:
    """Take the tour: questions as ``> …`` to ``notes``, answers to ``output``."""

    def show(turn: TourTurn, answer: Answer) -> None:
        output.write(f"{' '.join(answer.text.split())}\n")
        output.flush()

    take_tour(runner, show, asked=lambda turn: notes.write(f"> {turn.question}\n"))
