from __future__ import annotations

from gptoss_mlx.demo.questions import TOUR


def test_the_tour_has_facts_and_a_limit() -> None:
    """Four questions, each with what a right answer has in it."""
    assert len(TOUR) == 4
    assert all(question.expected for question in TOUR)
